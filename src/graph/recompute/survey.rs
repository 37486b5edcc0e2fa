//! What the nodes of a forward pass make, who reads it, and how much of it is kept.

use crate::graph::emit::{Emit, Value};
use crate::graph::model::Node;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// The nodes of a forward pass, with what matters of them.
#[derive(Debug)]
pub(super) struct Survey {
    nodes: Vec<Surveyed>,
    /// The node that makes a value.
    producer: HashMap<Value, usize>,
    /// The value in whose memory a value is.
    root: HashMap<Value, Value>,
    bytes: HashMap<Value, usize>,
    /// Values that depend on the data.
    activations: HashSet<Value>,
    /// Values that are there from the start and do not depend on the data.
    parameters: HashSet<Value>,
    /// The activations that the backward pass reads.
    wanted: HashSet<Value>,
    /// Those that the forward pass has to keep in any case: read from outside or by graphs within nodes.
    pinned: HashSet<Value>,
    /// The last node of the forward pass that reads a value.
    last_read: HashMap<Value, usize>,
    /// How many nodes, forwards and backwards, read a value.
    readers: HashMap<Value, usize>,
    /// The most bytes that a node of the forward pass reads and makes.
    largest_bytes: usize,
    places: Vec<(usize, bool)>,
}

#[derive(Debug)]
struct Surveyed {
    reads: Vec<Value>,
    makes: Vec<Value>,
    /// Whether it may be computed again: it depends on the data and has no graph within.
    is_repeatable: bool,
    is_activation: bool,
}

fn values<'a>(emit: &Emit, names: impl Iterator<Item = &'a str>) -> Vec<Value> {
    names.filter_map(|name| emit.find(name)).collect()
}

impl Survey {
    /// Looks at the first nodes of a graph, which are its forward pass, and at what the others read of them.
    pub(super) fn new(emit: &Emit, forward_nodes: usize, parameters: &[Value], outside: &[Value]) -> Survey {
        let mut survey = Survey {
            nodes: Vec::with_capacity(forward_nodes),
            producer: HashMap::new(),
            root: HashMap::new(),
            bytes: HashMap::new(),
            activations: HashSet::new(),
            parameters: parameters.iter().copied().collect(),
            wanted: HashSet::new(),
            pinned: outside.iter().copied().collect(),
            last_read: HashMap::new(),
            readers: HashMap::new(),
            largest_bytes: 0,
            places: Vec::new(),
        };
        let (forward, backward) = emit.nodes().split_at_checked(forward_nodes).unwrap_or((emit.nodes(), &[]));
        for (position, node) in forward.iter().enumerate() {
            survey.add(emit, position, node);
        }
        for node in backward {
            let reads = values(emit, node.reads());
            for read in &reads {
                *survey.readers.entry(*read).or_default() += 1;
                if survey.activations.contains(read) && survey.producer.contains_key(read) {
                    survey.wanted.insert(*read);
                }
            }
            let is_output =
                node.outputs.iter().filter_map(|name| emit.find(name)).any(|made| outside.contains(&made));
            if node.has_inner_graphs() || is_output {
                survey.pinned.extend(reads);
            }
        }
        survey.places = survey.find_places();
        survey
    }

    fn add(&mut self, emit: &Emit, position: usize, node: &Node) {
        let (reads, makes) =
            (values(emit, node.reads()), values(emit, node.outputs.iter().map(String::as_str)));
        let mut is_activation = false;
        for read in &reads {
            is_activation |= self.depends_on_data(*read, emit);
            self.last_read.insert(*read, position);
            *self.readers.entry(*read).or_default() += 1;
        }
        for made in &makes {
            self.producer.insert(*made, position);
            self.bytes.insert(*made, emit.kind(*made).size_bytes());
            if is_activation {
                self.activations.insert(*made);
            }
        }
        if let (true, [input, ..], [output, ..]) = (node.is_renaming(), reads.as_slice(), makes.as_slice()) {
            let root = self.root.get(input).copied().unwrap_or(*input);
            self.root.insert(*output, root);
        }
        let touched = reads.iter().chain(&makes).map(|value| emit.kind(*value).size_bytes());
        self.largest_bytes = self.largest_bytes.max(touched.fold(0, usize::saturating_add));
        let is_repeatable = is_activation && !node.has_inner_graphs();
        if !is_repeatable {
            self.pinned.extend(makes.iter().copied());
        }
        self.nodes.push(Surveyed { reads, makes, is_repeatable, is_activation });
    }

    /// How many nodes the forward pass has.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn is_activation(&self, position: usize) -> bool {
        self.nodes.get(position).is_some_and(|node| node.is_activation)
    }

    pub(super) fn is_repeatable(&self, position: usize) -> bool {
        self.nodes.get(position).is_some_and(|node| node.is_repeatable)
    }

    pub(super) fn reads(&self, position: usize) -> &[Value] {
        self.nodes.get(position).map_or(&[], |node| &node.reads)
    }

    pub(super) fn makes(&self, position: usize) -> &[Value] {
        self.nodes.get(position).map_or(&[], |node| &node.makes)
    }

    pub(super) fn producer(&self, value: Value) -> Option<usize> {
        self.producer.get(&value).copied()
    }

    pub(super) fn is_wanted(&self, value: Value) -> bool {
        self.wanted.contains(&value)
    }

    /// Whether a value depends on the data, or is data: whether it is there only from some moment on.
    pub(super) fn depends_on_data(&self, value: Value, emit: &Emit) -> bool {
        let is_fed = || {
            self.producer(value).is_none() && emit.known(value).is_none() && !self.parameters.contains(&value)
        };
        self.activations.contains(&value) || is_fed()
    }

    /// Whether the forward pass keeps a value that a segment made which ends here: it is read later, or it can not be
    /// made again.
    pub(super) fn outlives(&self, value: Value, end: usize) -> bool {
        self.pinned.contains(&value) || self.last_read.get(&value).is_some_and(|position| *position >= end)
    }

    /// The values that are made before a place and read by the forward pass from there on.
    pub(super) fn crossing(&self, end: usize) -> Vec<Value> {
        let made = self.nodes.iter().take(end).flat_map(|node| &node.makes);
        let crosses = |value: &&Value| {
            self.activations.contains(*value) && self.last_read.get(*value).is_some_and(|read| *read >= end)
        };
        made.filter(crosses).copied().collect()
    }

    /// The bytes of the values that cross each place, and whether the forward pass may be cut there: every value that
    /// crosses has several readers, so that no fusion of operators reaches over the cut.
    pub(super) fn places(&self) -> &[(usize, bool)] {
        &self.places
    }

    fn find_places(&self) -> Vec<(usize, bool)> {
        let mut opens = vec![(0_usize, 0_usize); self.len() + 2];
        let mut closes = vec![(0_usize, 0_usize); self.len() + 2];
        for value in &self.activations {
            let (Some(made), Some(read)) = (self.producer(*value), self.last_read.get(value)) else {
                continue;
            };
            let single = usize::from(self.readers.get(value).copied().unwrap_or(0) < 2);
            let bytes = self.bytes.get(value).copied().unwrap_or(0);
            // It crosses the places behind the node that makes it, up to the last node that reads it.
            for (places, position) in [(&mut opens, made + 1), (&mut closes, read + 1)] {
                if let Some(place) = places.get_mut(position) {
                    place.0 = place.0.saturating_add(bytes);
                    place.1 += single;
                }
            }
        }
        let (mut bytes, mut single) = (0_usize, 0_usize);
        let walk = opens.iter().zip(&closes).map(|(open, close)| {
            bytes = bytes.saturating_add(open.0).saturating_sub(close.0);
            single = (single + open.1).saturating_sub(close.1);
            (bytes, single == 0)
        });
        walk.collect()
    }

    /// The bytes that the backward pass wants of what each node makes.
    pub(super) fn wanted_bytes(&self, position: usize) -> usize {
        let made = self.makes(position).iter().filter(|value| self.is_wanted(**value));
        // What is in the memory of another value was counted there.
        let own = made.filter(|value| self.root(**value) == **value);
        own.map(|value| self.bytes.get(value).copied().unwrap_or(0)).fold(0, usize::saturating_add)
    }

    fn root(&self, value: Value) -> Value {
        self.root.get(&value).copied().unwrap_or(value)
    }

    /// A range of nodes, made smaller until it ends and begins where the forward pass may be cut.
    pub(super) fn widened(&self, range: Range<usize>) -> Range<usize> {
        let may_cut = |place: &usize| self.places.get(*place).is_some_and(|(_, may)| *may);
        let start = (range.start..range.end).find(may_cut).unwrap_or(range.end);
        let end = (start..=range.end).rev().find(may_cut).unwrap_or(start);
        start..end
    }

    /// The bytes of activations at the fullest moment, by their shapes, when these segments are computed again: what is
    /// kept when the backward pass begins, the largest segment, and what the largest node takes.
    pub(super) fn kept_bytes(&self, segments: &[Range<usize>]) -> usize {
        let segment_of = |position: usize| segments.iter().find(|segment| segment.contains(&position));
        let mut kept: HashSet<Value> = HashSet::new();
        for value in &self.wanted {
            let segment = self.producer(*value).and_then(segment_of);
            if segment.is_none_or(|segment| self.outlives(*value, segment.end)) {
                kept.insert(self.root(*value));
            }
        }
        let mut largest = 0;
        for segment in segments {
            let again = segment.clone().filter(|position| self.is_repeatable(*position));
            let mut made: HashSet<Value> = HashSet::new();
            for position in again {
                let reads = self.reads(position).iter().map(|value| self.root(*value));
                let from_before = |value: &Value| {
                    self.activations.contains(value)
                        && self.producer(*value).is_some_and(|producer| producer < segment.start)
                };
                kept.extend(reads.filter(from_before));
                made.extend(self.makes(position).iter().map(|value| self.root(*value)));
            }
            made.retain(|value| !kept.contains(value) && self.is_wanted(*value));
            largest = largest.max(self.sum_bytes(&made));
        }
        self.sum_bytes(&kept).saturating_add(largest).saturating_add(self.largest_bytes)
    }

    fn sum_bytes(&self, values: &HashSet<Value>) -> usize {
        values
            .iter()
            .filter_map(|value| self.bytes.get(value))
            .fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}
