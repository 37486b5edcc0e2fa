//! Recurrences: a small graph run once for each step of a sequence.

use super::super::model::attribute;
use super::super::proto::{AttributeProto, GraphProto, attribute_type};
use super::super::tensor::ValueType;
use super::super::write::graph_proto;
use super::{Emit, Value};

/// In which order the steps of a sequence are taken; results stand where their step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Backward,
}

impl Order {
    /// The opposite.
    #[must_use]
    pub fn reversed(self) -> Self {
        if self == Self::Forward { Self::Backward } else { Self::Forward }
    }
}

impl Emit {
    /// Runs `step` for each element of `sequences`, whose first axis the steps are.
    ///
    /// It is given the graph of one step, the states, one element of each sequence, and the shared values, and gives the
    /// new states and what is to be collected. The result is the last states and, with the steps as first axis, what was
    /// collected. A step must use every state and every sequence, and no constants, whose names would hide outer ones.
    pub fn scan<const STATES: usize, const ITEMS: usize, const SHARED: usize, const COLLECTED: usize>(
        &mut self,
        order: Order,
        states: [Value; STATES],
        sequences: [Value; ITEMS],
        shared: [Value; SHARED],
        step: impl FnOnce(
            &mut Self,
            [Value; STATES],
            [Value; ITEMS],
            [Value; SHARED],
        ) -> ([Value; STATES], [Value; COLLECTED]),
    ) -> ([Value; STATES], [Value; COLLECTED]) {
        self.made += 1;
        // Names inside must not hide names outside.
        let scope = format!("{}/step_{}", self.scope.trim_start_matches("trainer/"), self.made);
        let mut body = Self::new(self.opset, self.other_opsets.clone());
        body.set_processor(self.processor);
        body.set_scope(&scope);
        let mut inputs = Vec::with_capacity(STATES + ITEMS);
        let mut declare = |outer: Value, first_axis: usize| {
            let dims = self.dims(outer).get(first_axis..).unwrap_or_default();
            let kind = ValueType::new(self.dtype(outer), dims);
            let inner = body.declare(&format!("trainer/{scope}/given_{}", inputs.len()), kind);
            inputs.push(inner);
            inner
        };
        let inner_states = states.map(|state| declare(state, 0));
        let items = sequences.map(|sequence| declare(sequence, 1));
        let inner_shared = shared.map(|value| body.declare(self.name(value), self.kind(value).clone()));
        let (new_states, collected) = step(&mut body, inner_states, items, inner_shared);
        let given = new_states.iter().chain(&collected).enumerate();
        let outputs: Vec<Value> = given
            .map(|(at, value)| body.name_output(*value, &format!("trainer/{scope}/made_{at}")))
            .collect();
        let count = sequences.first().and_then(|sequence| self.dims(*sequence).first().copied());
        let kinds = outputs.iter().enumerate().map(|(position, output)| {
            let mut kind = body.kind(*output).clone();
            if position >= STATES {
                kind.dims.insert(0, count.unwrap_or(0));
            }
            kind
        });
        let kinds: Vec<ValueType> = kinds.collect();
        let graph = body.finish("step", &inputs, &outputs);
        let attributes = scan_attributes(graph_proto(&graph), ITEMS, COLLECTED, order);
        let inputs: Vec<Option<Value>> = states.iter().chain(&sequences).copied().map(Some).collect();
        let mut made = self.multi_op("Scan", &inputs, attributes, kinds);
        let stacks = made.split_off(STATES);
        let states = made.try_into().expect("each state is an output");
        (states, stacks.try_into().expect("each collected value is an output"))
    }
}

fn scan_attributes(body: GraphProto, items: usize, collected: usize, order: Order) -> Vec<AttributeProto> {
    let direction = i64::from(order == Order::Backward);
    let body = AttributeProto {
        name: "body".to_owned(),
        g: Some(body),
        r#type: attribute_type::GRAPH,
        ..Default::default()
    };
    vec![
        body,
        attribute::int("num_scan_inputs", items as i64),
        attribute::ints("scan_input_directions", &vec![direction; items]),
        attribute::ints("scan_output_directions", &vec![direction; collected]),
    ]
}
