//! The change of the graph: copies of nodes, and what makes them wait.

use super::survey::Survey;
use crate::graph::autodiff::Backward;
use crate::graph::emit::{Emit, Value};
use crate::graph::model::Node;
use crate::graph::tensor::{Dtype, Tensor};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Computes the segments again where the backward pass reads them. Gives how many nodes are computed twice.
pub(super) fn rewrite(
    emit: &mut Emit,
    survey: &Survey,
    backward: &Backward,
    segments: &[Range<usize>],
) -> usize {
    let mut forward = std::mem::take(emit.nodes_mut());
    let rest = forward.split_off(survey.len());
    let mut change = Change {
        emit,
        survey,
        behind: vec![Vec::new(); forward.len() + 1],
        before: vec![Vec::new(); rest.len() + 1],
        forward,
        rest,
        renamed: HashMap::new(),
        repeated: 0,
    };
    change.emit.set_scope("again");
    // The backward pass comes by the last segment first.
    let firsts: Vec<Option<usize>> =
        segments.iter().map(|segment| change.first_reader(&change.dropped(segment))).collect();
    for (index, segment) in segments.iter().enumerate() {
        let Some(first) = firsts.get(index).copied().flatten() else { continue };
        let done_before = firsts.iter().skip(index + 1).flatten().max().copied().unwrap_or(0);
        change.repeat(backward, segment, done_before..first);
    }
    let Change { emit, forward, rest, behind, before, repeated, .. } = change;
    let nodes = emit.nodes_mut();
    // Each list of inserted nodes stands before the node of its position.
    for (own, inserted) in [(forward, behind), (rest, before)] {
        let mut inserted = inserted.into_iter();
        for node in own {
            nodes.extend(inserted.next().into_iter().flatten());
            nodes.push(node);
        }
        nodes.extend(inserted.flatten());
    }
    repeated
}

struct Change<'a> {
    emit: &'a mut Emit,
    survey: &'a Survey,
    forward: Vec<Node>,
    rest: Vec<Node>,
    /// Nodes to stand before each node of the forward pass, and behind the last.
    behind: Vec<Vec<Node>>,
    /// The same for the backward pass.
    before: Vec<Vec<Node>>,
    /// The name under which the forward pass reads a value from the last cut on.
    renamed: HashMap<Value, String>,
    repeated: usize,
}

impl Change<'_> {
    /// Computes one segment again for the node of the backward pass at the end of `stretch`, which begins where the backward
    /// pass comes by the segment before; unless nothing comes behind the segment.
    fn repeat(&mut self, backward: &Backward, segment: &Range<usize>, stretch: Range<usize>) {
        let dropped = self.dropped(segment);
        let crossing = self.survey.crossing(segment.end);
        let first_reader = stretch.end;
        if crossing.is_empty() {
            return;
        }
        let Some(arriving) = self.arriving(backward, segment, first_reader) else { return };
        let (needed, made) = self.needed(segment, &dropped);

        let mut awaited = vec![arriving];
        awaited.extend(self.gradients_of(backward, stretch).into_iter().filter(|value| *value != arriving));
        let zero = self.zero_once_there(&awaited);
        let mut names: HashMap<String, String> = HashMap::new();
        for position in &needed {
            for read in self.survey.reads(*position) {
                let name = self.emit.name(*read).to_owned();
                let waits = !made.contains(read) && self.survey.depends_on_data(*read, self.emit);
                if waits && !names.contains_key(&name) {
                    let waiting = self.waiting_for(*read, zero);
                    names.insert(name, self.emit.name(waiting).to_owned());
                }
            }
        }
        for position in &needed {
            self.push_copy(*position, &mut names);
        }
        let copies = std::mem::take(self.emit.nodes_mut());
        if let Some(place) = self.before.get_mut(first_reader) {
            place.extend(copies);
        }
        let again: HashMap<&str, &String> = dropped
            .iter()
            .filter_map(|value| Some((self.emit.name(*value), names.get(self.emit.name(*value))?)))
            .collect();
        for input in self.rest.iter_mut().flat_map(|node| &mut node.inputs) {
            if let Some(name) = again.get(input.as_str()) {
                *input = (*name).clone();
            }
        }
        self.repeated += needed.len();
        self.let_go(segment.end, &dropped, &crossing);
    }

    /// What the backward pass wants of a segment and the forward pass does not keep.
    fn dropped(&self, segment: &Range<usize>) -> Vec<Value> {
        let made = segment.clone().flat_map(|position| self.survey.makes(position));
        let is_dropped =
            |value: &&Value| self.survey.is_wanted(**value) && !self.survey.outlives(**value, segment.end);
        made.filter(is_dropped).copied().collect()
    }

    /// The first node of the backward pass that reads one of these.
    fn first_reader(&self, values: &[Value]) -> Option<usize> {
        let names: HashSet<&str> = values.iter().map(|value| self.emit.name(*value)).collect();
        self.rest.iter().position(|node| node.reads().any(|read| names.contains(read)))
    }

    /// The last gradient of something that the segment made which is there before that node.
    fn arriving(&self, backward: &Backward, segment: &Range<usize>, first_reader: usize) -> Option<Value> {
        let made_at: HashMap<&str, usize> = self
            .rest
            .iter()
            .take(first_reader)
            .enumerate()
            .flat_map(|(position, node)| node.outputs.iter().map(move |output| (output.as_str(), position)))
            .collect();
        let made = segment.clone().flat_map(|position| self.survey.makes(position));
        let gradients = made.filter_map(|value| backward.of_value.get(value));
        let there = gradients.filter_map(|gradient| {
            let has_elements = !self.emit.dims(*gradient).contains(&0);
            let position = made_at.get(self.emit.name(*gradient)).filter(|_| has_elements)?;
            Some((*position, *gradient))
        });
        there.max_by_key(|(position, _)| *position).map(|(_, gradient)| gradient)
    }

    /// The gradients of parameters that a stretch of the backward pass makes. ONNX Runtime would leave them, and what they
    /// are made of, to the end.
    fn gradients_of(&self, backward: &Backward, stretch: Range<usize>) -> Vec<Value> {
        let nodes = self.rest.get(stretch).unwrap_or_default();
        let made: HashSet<&str> = nodes.iter().flat_map(|node| &node.outputs).map(String::as_str).collect();
        let gradients = backward.gradients.iter().flatten().copied();
        let made = gradients.filter(|gradient| {
            made.contains(self.emit.name(*gradient)) && !self.emit.dims(*gradient).contains(&0)
        });
        made.collect()
    }

    /// The nodes of a segment that make these values from what is kept, in their order, and all that they make.
    fn needed(&self, segment: &Range<usize>, dropped: &[Value]) -> (Vec<usize>, HashSet<Value>) {
        let mut missing: HashSet<Value> = dropped.iter().copied().collect();
        let mut needed = Vec::new();
        for position in segment.clone().rev() {
            let makes = self.survey.makes(position);
            if !self.survey.is_repeatable(position) || !makes.iter().any(|value| missing.contains(value)) {
                continue;
            }
            needed.push(position);
            for read in self.survey.reads(position) {
                let is_of_segment =
                    self.survey.producer(*read).is_some_and(|producer| segment.contains(&producer));
                if is_of_segment && !self.survey.outlives(*read, segment.end) {
                    missing.insert(*read);
                }
            }
        }
        needed.reverse();
        (needed, missing)
    }

    /// A copy of a node which reads and makes values under the names given; what it makes is named.
    fn push_copy(&mut self, position: usize, names: &mut HashMap<String, String>) {
        let Some(mut node) = self.forward.get(position).cloned() else { return };
        // The forward pass may read a value under another name from a cut on; the copy has its own.
        for (input, read) in
            node.inputs.iter_mut().filter(|name| !name.is_empty()).zip(self.survey.reads(position))
        {
            let original = self.emit.name(*read).to_owned();
            *input = names.get(&original).cloned().unwrap_or(original);
        }
        node.name.push_str("/again");
        for output in node.outputs.iter_mut().filter(|name| !name.is_empty()) {
            let Some(kind) = self.emit.find(output).map(|value| self.emit.kind(value).clone()) else {
                continue;
            };
            let name = format!("{output}/again");
            self.emit.declare(&name, kind);
            names.insert(std::mem::replace(output, name.clone()), name);
        }
        self.emit.push(node);
    }

    /// Makes what comes behind a place wait until everything that read the dropped values there is done. Reading their
    /// first elements also keeps ONNX Runtime from fusing the operators that make and read them, as the backward pass did.
    fn let_go(&mut self, end: usize, dropped: &[Value], crossing: &[Value]) {
        let next_read = |value: &Value| {
            (end..self.survey.len()).find(|position| self.survey.reads(*position).contains(value))
        };
        let has_elements = |value: &Value| !self.emit.dims(*value).contains(&0);
        let there: Vec<Value> = dropped.iter().copied().filter(has_elements).collect();
        let waiting = crossing.iter().filter(|value| can_wait(self.emit, **value));
        let first = waiting.min_by_key(|value| next_read(value));
        let (Some(first), false) = (first.copied(), there.is_empty()) else { return };
        let zero = self.zero_once_there(&there);
        let waiting = self.waiting_for(first, zero);
        let mut inserted = std::mem::take(self.emit.nodes_mut());
        let name = self.emit.name(waiting).to_owned();
        let before = self.renamed.insert(first, name.clone());
        let before = before.unwrap_or_else(|| self.emit.name(first).to_owned());
        // What waits at an earlier cut waits here as well.
        for input in inserted.last_mut().into_iter().flat_map(|node| &mut node.inputs) {
            if input == self.emit.name(first) {
                input.clone_from(&before);
            }
        }
        for input in self.forward.iter_mut().skip(end).flat_map(|node| &mut node.inputs) {
            if *input == before {
                input.clone_from(&name);
            }
        }
        if let Some(place) = self.behind.get_mut(end) {
            place.extend(inserted);
        }
    }

    /// The number 0 as a list of one element, which can not be known before these values are there.
    fn zero_once_there(&mut self, values: &[Value]) -> Value {
        let no = self.emit.constant(Tensor::from_f64(Dtype::Bool, vec![1], &[0.0]));
        let mut firsts = Vec::with_capacity(values.len());
        for value in values {
            let rank = self.emit.rank(*value);
            let axes: Vec<usize> = (0..rank).collect();
            let first = self.emit.slice(*value, &axes, &vec![0; rank], &vec![1; rank], &vec![1; rank]);
            let first = self.emit.reshape(first, &[1]);
            firsts.push(self.emit.cast(first, Dtype::Bool));
        }
        let all = self.emit.concat(&firsts, 0);
        let none = self.emit.and(all, no);
        let zeros = self.emit.cast(none, Dtype::I64);
        self.emit.reduce_sum(zeros, &[0])
    }

    /// A value once more, but not before `zero` is there. An Expand to the shape that it has: unlike a Reshape, ONNX Runtime
    /// never fuses it with what follows.
    fn waiting_for(&mut self, value: Value, zero: Value) -> Value {
        if !can_wait(self.emit, value) {
            return value;
        }
        let dims: Vec<i64> = self.emit.dims(value).iter().map(|dim| *dim as i64).collect();
        let list = self.emit.list(&dims);
        let shape = self.emit.add(list, zero);
        let kind = self.emit.kind(value).clone();
        let waiting = self.emit.op("Expand", &[value, shape], vec![], kind);
        self.emit.hint(waiting);
        waiting
    }
}

/// Whether a value can be expanded to a shape that is computed.
fn can_wait(emit: &Emit, value: Value) -> bool {
    let dims = emit.dims(value);
    !dims.is_empty() && !dims.contains(&0)
}
