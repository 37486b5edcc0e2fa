//! Mutations of ONNX files that leave them ONNX files.
#![allow(
    clippy::indexing_slicing,
    reason = "places are chosen below lengths, and no program has this module"
)]

use crate::graph::autodiff::table;
use crate::graph::proto::{
    AttributeProto, DimensionProto, DimensionValue, FunctionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TypeValue, ValueInfoProto, attribute_type,
};
use bytes::Bytes;
use prost::Message;

/// SplitMix64: enough to choose places and values, and always the same.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len()))
    }

    fn of_mut<'a, T>(&mut self, choices: &'a mut [T]) -> Option<&'a mut T> {
        let at = self.below(choices.len());
        choices.get_mut(at)
    }

    /// A number that dimensions, axes and counts go wrong at, or a small one.
    fn number(&mut self) -> i64 {
        const SPECIAL: [i64; 12] = [
            0,
            -1,
            -2,
            i64::MIN,
            i64::MAX,
            i32::MAX as i64,
            1 << 31,
            1 << 32,
            1 << 40,
            1 << 62,
            4096,
            65_536,
        ];
        if self.below(3) == 0 { SPECIAL[self.below(SPECIAL.len())] } else { self.below(9) as i64 - 1 }
    }
}

/// The file with one to four changes to what it says; `None` if it is no ONNX file to begin with.
#[must_use]
pub fn mutate_model(bytes: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut model = ModelProto::decode(Bytes::copy_from_slice(bytes)).ok()?;
    model.graph.as_ref()?;
    let mut random = Random(seed);
    for _ in 0..=random.below(4) {
        mutate(&mut model, &mut random);
    }
    Some(model.encode_to_vec())
}

fn mutate(model: &mut ModelProto, random: &mut Random) {
    match random.below(32) {
        0 => change_versions(model, random),
        1 => call_function(model, random),
        2 => change_function(model, random),
        choice => {
            if let Some(graph) = &mut model.graph {
                mutate_graph(graph, choice, random);
            }
        }
    }
}

fn mutate_graph(graph: &mut GraphProto, choice: usize, random: &mut Random) {
    // Now and then a graph inside a node is what changes.
    if random.below(8) == 0 {
        let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
        let mut inner: Vec<&mut GraphProto> =
            attributes.filter_map(|attribute| attribute.g.as_mut()).collect();
        if let Some(inner) = random.of_mut(&mut inner) {
            return mutate_graph(inner, choice, random);
        }
    }
    match choice {
        3..=8 => rewire(graph, random),
        9..=13 => change_operator(graph, random),
        14 | 15 => move_node(graph, random),
        16..=19 => change_attribute(graph, random),
        20..=22 => change_tensor(graph, random),
        23 => make_external(graph, random),
        24 | 25 => change_port(graph, random),
        26 => wrap_in_branch(graph, random),
        27 => drop_something(graph, random),
        _ => insert_node(graph, random),
    }
}

/// All names of values.
fn names(graph: &GraphProto) -> Vec<String> {
    let inputs = graph.input.iter().map(|info| info.name.clone());
    let initializers = graph.initializer.iter().map(|tensor| tensor.name.clone());
    inputs.chain(initializers).chain(graph.node.iter().flat_map(|node| node.output.iter().cloned())).collect()
}

fn rewire(graph: &mut GraphProto, random: &mut Random) {
    let names = names(graph);
    let name = match random.below(12) {
        0 => String::new(),
        1 => "nothing".to_owned(),
        2 => "trainer/reserved".to_owned(),
        _ => random.of(&names).cloned().unwrap_or_default(),
    };
    let is_output = random.below(6) == 0;
    let Some(node) = random.of_mut(&mut graph.node) else { return };
    let slots = if is_output { &mut node.output } else { &mut node.input };
    match random.below(slots.len() + 1) {
        at if at < slots.len() => slots[at] = name,
        _ if random.below(2) == 0 => slots.push(name),
        _ => _ = slots.pop(),
    }
}

fn change_operator(graph: &mut GraphProto, random: &mut Random) {
    let ops: Vec<&str> = table().map(|rule| rule.op).collect();
    let op = (*random.of(&ops).unwrap_or(&"Identity")).to_owned();
    let Some(node) = random.of_mut(&mut graph.node) else { return };
    match random.below(10) {
        0 => node.domain = ["ai.onnx", "com.microsoft", "strange", ""][random.below(4)].to_owned(),
        1 => node.name = ["", "same", "trainer/x"][random.below(3)].to_owned(),
        _ => node.op_type = op,
    }
}

fn move_node(graph: &mut GraphProto, random: &mut Random) {
    let len = graph.node.len();
    if len > 1 {
        let (from, to) = (random.below(len), random.below(len));
        graph.node.swap(from, to);
    }
}

fn insert_node(graph: &mut GraphProto, random: &mut Random) {
    let mut ops: Vec<&str> = table().map(|rule| rule.op).collect();
    // Operators whose shapes are known here lead on; others end the way.
    ops.extend(
        ["Add", "Mul", "MatMul", "Relu", "Transpose", "Softmax", "Identity", "Reshape", "Concat"].repeat(8),
    );
    let op = (*random.of(&ops).unwrap_or(&"Identity")).to_owned();
    let names = names(graph);
    let at = random.below(graph.node.len() + 1);
    let output = format!("n{}", random.below(1000));
    let inputs = 1 + random.below(3);
    let input = (0..inputs).filter_map(|_| random.of(&names).cloned()).collect();
    // Somebody reads it instead of what they read before.
    if let Some(slot) = graph.node.get_mut(at).and_then(|node| node.input.first_mut()) {
        slot.clone_from(&output);
    } else if let Some(port) = graph.output.first_mut() {
        port.name.clone_from(&output);
    }
    let node = NodeProto { op_type: op, input, output: vec![output], ..Default::default() };
    graph.node.insert(at, node);
}

fn change_attribute(graph: &mut GraphProto, random: &mut Random) {
    const NAMES: [&str; 16] = [
        "axis",
        "axes",
        "perm",
        "transA",
        "transB",
        "pads",
        "strides",
        "dilations",
        "group",
        "kernel_shape",
        "keepdims",
        "to",
        "allowzero",
        "num_outputs",
        "ceil_mode",
        "hidden_size",
    ];
    let Some(node) = random.of_mut(&mut graph.node) else { return };
    let number = random.number();
    match random.below(4) {
        0 => {
            let name = NAMES[random.below(NAMES.len())].to_owned();
            let is_list = random.below(2) == 0;
            let ints = (0..random.below(5)).map(|_| random.number()).collect();
            let r#type = if is_list { attribute_type::INTS } else { attribute_type::INT };
            node.attribute.push(AttributeProto { name, i: number, ints, r#type, ..Default::default() });
        }
        1 => {
            let at = random.below(node.attribute.len());
            node.attribute.drain(at..(at + 1).min(node.attribute.len()));
        }
        _ => {
            let Some(attribute) = random.of_mut(&mut node.attribute) else { return };
            match random.below(6) {
                0 => attribute.r#type = random.below(12) as i32,
                1 => attribute.f = f32::from_bits(random.bits() as u32),
                2 => attribute.ref_attr_name = "given".to_owned(),
                3 => attribute.ints.push(number),
                4 => _ = attribute.ints.pop(),
                _ if attribute.ints.is_empty() => attribute.i = number,
                _ => *random.of_mut(&mut attribute.ints).expect("it is not empty") = number,
            }
        }
    }
}

/// Dimensions, element type, or both with the bytes that fit.
fn change_tensor(graph: &mut GraphProto, random: &mut Random) {
    let constants = graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|a| a.t.as_mut());
    let mut tensors: Vec<&mut TensorProto> = graph.initializer.iter_mut().chain(constants).collect();
    let Some(tensor) = random.of_mut(&mut tensors) else { return };
    match random.below(6) {
        0 => tensor.data_type = random.below(27) as i32,
        1 => tensor.dims = vec![random.number(), random.number()],
        2 => tensor.raw_data = Some(Bytes::from(vec![0xff; random.below(40)])),
        _ => {
            let dims: Vec<i64> = (0..random.below(5)).map(|_| random.below(4) as i64).collect();
            let is_int = random.below(3) == 0;
            let count: i64 = dims.iter().product();
            let size = if is_int { 8 } else { 4 };
            let element: Vec<u8> = if is_int {
                random.number().to_le_bytes().to_vec()
            } else {
                let numbers = [0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-30, 0.5];
                numbers[random.below(8)].to_le_bytes().to_vec()
            };
            let bytes: Vec<u8> = element.iter().copied().cycle().take(count as usize * size).collect();
            tensor.data_type = if is_int { 7 } else { 1 };
            **tensor = TensorProto {
                name: tensor.name.clone(),
                dims,
                data_type: tensor.data_type,
                ..Default::default()
            };
            tensor.raw_data = Some(Bytes::from(bytes));
        }
    }
}

fn make_external(graph: &mut GraphProto, random: &mut Random) {
    const PLACES: [&str; 7] = ["w.bin", "../w.bin", "/etc/hostname", "", "a/../../w.bin", ".", "a\0b"];
    const OFFSETS: [&str; 4] = ["0", "18446744073709551615", "-1", "ten"];
    let Some(tensor) = random.of_mut(&mut graph.initializer) else { return };
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: key.to_owned(), value: value.to_owned() };
    tensor.data_location = 1;
    tensor.external_data = vec![
        entry("location", PLACES[random.below(PLACES.len())]),
        entry("offset", OFFSETS[random.below(OFFSETS.len())]),
    ];
}

fn change_port(graph: &mut GraphProto, random: &mut Random) {
    let is_output = random.below(4) == 0;
    let names = names(graph);
    let ports = if is_output { &mut graph.output } else { &mut graph.input };
    let Some(port) = random.of_mut(ports) else { return };
    if is_output {
        port.name = random.of(&names).cloned().unwrap_or_default();
        return;
    }
    let Some(TypeValue::Tensor(kind)) = port.r#type.as_mut().and_then(|kind| kind.value.as_mut()) else {
        return;
    };
    if random.below(6) == 0 {
        kind.elem_type = random.below(24) as i32;
        return;
    }
    let Some(shape) = &mut kind.shape else { return };
    let value = match random.below(4) {
        0 => None,
        1 => Some(DimensionValue::Param(["batch", "seq", "tokens", "free"][random.below(4)].to_owned())),
        _ => Some(DimensionValue::Value(random.number())),
    };
    match random.below(shape.dim.len() + 2) {
        at if at < shape.dim.len() => shape.dim[at].value = value,
        at if at == shape.dim.len() => shape.dim.push(DimensionProto { value }),
        _ => _ = shape.dim.pop(),
    }
}

/// A node inside an `If`, with the same node as the other branch.
fn wrap_in_branch(graph: &mut GraphProto, random: &mut Random) {
    let names = names(graph);
    let condition = random.of(&names).cloned().unwrap_or_default();
    let Some(node) = random.of_mut(&mut graph.node) else { return };
    let branch = |name: &str, node: &NodeProto| AttributeProto {
        name: name.to_owned(),
        r#type: attribute_type::GRAPH,
        g: Some(GraphProto {
            name: name.to_owned(),
            node: vec![node.clone()],
            output: node
                .output
                .iter()
                .map(|name| ValueInfoProto { name: name.clone(), r#type: None, ..Default::default() })
                .collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut inner = node.clone();
    inner.output.iter_mut().for_each(|name| name.push('\''));
    node.attribute = vec![branch("then_branch", &inner), branch("else_branch", &inner)];
    "If".clone_into(&mut node.op_type);
    node.input = vec![condition];
}

fn drop_something(graph: &mut GraphProto, random: &mut Random) {
    fn drop_one<T>(list: &mut Vec<T>, random: &mut Random) {
        if !list.is_empty() {
            list.remove(random.below(list.len()));
        }
    }
    match random.below(4) {
        0 => drop_one(&mut graph.node, random),
        1 => drop_one(&mut graph.initializer, random),
        2 => drop_one(&mut graph.input, random),
        _ => drop_one(&mut graph.output, random),
    }
}

fn change_versions(model: &mut ModelProto, random: &mut Random) {
    match random.below(3) {
        0 => model.ir_version = random.number(),
        1 => model.opset_import.push(OperatorSetIdProto { domain: "local".to_owned(), version: 1 }),
        _ => {
            if let Some(set) = random.of_mut(&mut model.opset_import) {
                set.version = 12 + random.below(16) as i64;
            }
        }
    }
}

/// A function of one or two nodes that calls itself, another one, or operators; and a call of it.
fn call_function(model: &mut ModelProto, random: &mut Random) {
    let name = format!("f{}", random.below(4));
    let call = |op: String, domain: &str, input: &str, output: &str| NodeProto {
        op_type: op,
        domain: domain.to_owned(),
        input: vec![input.to_owned()],
        output: vec![output.to_owned()],
        ..Default::default()
    };
    let other = format!("f{}", random.below(4));
    let inner = match random.below(3) {
        0 => vec![call("Relu".to_owned(), "", "a", "r")],
        1 => vec![call(other.clone(), "local", "a", "s"), call(other, "local", "s", "r")],
        _ => vec![call("Exp".to_owned(), "", "a", "s"), call("Log".to_owned(), "", "s", "r")],
    };
    let opset_import = model.opset_import.iter().take(1).cloned().collect();
    model.functions.push(FunctionProto {
        name: name.clone(),
        domain: "local".to_owned(),
        input: vec!["a".to_owned()],
        output: vec!["r".to_owned()],
        node: inner,
        opset_import,
        ..Default::default()
    });
    if let Some(node) = model.graph.as_mut().and_then(|graph| random.of_mut(&mut graph.node)) {
        node.op_type = name;
        "local".clone_into(&mut node.domain);
        node.input.truncate(1);
        node.output.truncate(1);
    }
}

fn change_function(model: &mut ModelProto, random: &mut Random) {
    let Some(function) = random.of_mut(&mut model.functions) else { return };
    let mut graph = GraphProto { node: std::mem::take(&mut function.node), ..Default::default() };
    let choice = 3 + random.below(17);
    mutate_graph(&mut graph, choice, random);
    function.node = graph.node;
}
