use super::{UnsupportedNode, backward};
use crate::graph::emit::{Emit, Value};
use crate::graph::model::{Node, attribute};
use crate::graph::tensor::{Dtype, ValueType};

/// A graph over the inputs `x` and `w`, both `[2, 3]`.
struct Built {
    emit: Emit,
    x: Value,
    w: Value,
}

fn built() -> Built {
    let mut emit = Emit::new(18, Vec::new());
    emit.set_scope("forward");
    let [x, w] = ["x", "w"].map(|name| emit.declare(name, ValueType::new(Dtype::F32, vec![2, 3])));
    Built { emit, x, w }
}

/// Operators of the nodes that the gradients need, in their order, each with its inputs.
fn gradient_ops(mut emit: Emit, loss: Value, wanted: &[Value]) -> Vec<String> {
    let grads: Vec<Value> = backward(&mut emit, loss, wanted).unwrap().into_iter().flatten().collect();
    let graph = emit.finish("gradients", &[], &grads);
    let nodes = graph.nodes.iter().filter(|node| node.name.starts_with("trainer/gradient"));
    nodes.map(|node| node.op.clone()).collect()
}

fn count(ops: &[String], op: &str) -> usize {
    ops.iter().filter(|other| *other == op).count()
}

#[test]
fn the_gradients_of_all_consumers_are_added_up() {
    for consumers in 1..=4 {
        let Built { mut emit, x, w } = built();
        let mut sum = emit.mul(w, x);
        for _ in 1..consumers {
            let product = emit.mul(w, x);
            sum = emit.add(sum, product);
        }
        let loss = emit.sum_all(sum);
        let ops = gradient_ops(emit, loss, &[w]);
        assert_eq!(count(&ops, "Mul"), consumers);
        assert_eq!(count(&ops, "Add"), consumers - 1);
    }
}

#[test]
fn both_operands_of_one_node_may_be_the_same_value() {
    let Built { mut emit, w, .. } = built();
    let square = emit.mul(w, w);
    let loss = emit.sum_all(square);
    let ops = gradient_ops(emit, loss, &[w]);
    assert_eq!((count(&ops, "Mul"), count(&ops, "Add")), (2, 1));
}

#[test]
fn a_broadcast_operand_gets_its_gradient_summed_down_to_its_shape() {
    let Built { mut emit, x, .. } = built();
    for dims in [vec![], vec![1], vec![3], vec![2, 1], vec![1, 3], vec![1, 1]] {
        let small = emit.declare(&format!("small{dims:?}"), ValueType::new(Dtype::F32, dims.clone()));
        let product = emit.mul(x, small);
        let loss = emit.sum_all(product);
        let grads = backward(&mut emit, loss, &[small, x]).unwrap();
        let [grad, full] = [0, 1].map(|at| emit.dims(grads[at].unwrap()).to_vec());
        assert_eq!((grad, full), (dims, vec![2, 3]));
    }
}

#[test]
fn a_value_the_loss_does_not_depend_on_has_no_gradient() {
    let Built { mut emit, x, w } = built();
    let loss = emit.sum_all(x);
    assert_eq!(backward(&mut emit, loss, &[w]).unwrap(), [None]);
    let sign = emit.sign(w);
    let product = emit.mul(sign, x);
    let loss = emit.sum_all(product);
    assert_eq!(backward(&mut emit, loss, &[w]).unwrap(), [None]);
}

#[test]
fn the_loss_itself_has_gradient_one() {
    let Built { mut emit, x, .. } = built();
    let loss = emit.sum_all(x);
    let grads = backward(&mut emit, loss, &[loss]).unwrap();
    assert_eq!(emit.known(grads[0].unwrap()).unwrap().to_f64().unwrap(), [1.0]);
}

#[test]
fn an_intermediate_value_and_what_it_is_made_of_both_get_gradients() {
    let Built { mut emit, x, w } = built();
    let hidden = emit.mul(w, x);
    let squared = emit.mul(hidden, hidden);
    let loss = emit.sum_all(squared);
    let grads = backward(&mut emit, loss, &[w, hidden]).unwrap();
    assert!(grads.iter().all(Option::is_some));
}

#[test]
fn nodes_that_lead_only_to_data_are_not_differentiated() {
    let Built { mut emit, x, w } = built();
    let kind = emit.kind(x).clone();
    let unsupported = emit.op("Det", &[x], vec![], kind.clone());
    let product = emit.mul(unsupported, w);
    emit.op("DFT", &[product], vec![], kind);
    let loss = emit.sum_all(product);
    let ops = gradient_ops(emit, loss, &[w]);
    assert_eq!(count(&ops, "Mul"), 1);
}

#[test]
fn all_nodes_without_a_rule_are_listed_in_the_order_of_the_graph() {
    let Built { mut emit, w, .. } = built();
    let kind = emit.kind(w).clone();
    let det = emit.op("Det", &[w], vec![], kind.clone());
    let dft = emit.op("DFT", &[det], vec![], kind.clone());
    let pooled = emit.op("MaxUnpool", &[dft], vec![], kind);
    let loss = emit.sum_all(pooled);
    let unsupported = backward(&mut emit, loss, &[w]).unwrap_err();
    let ops: Vec<&str> = unsupported.nodes.iter().map(|node| node.op.as_str()).collect();
    assert_eq!(ops, ["Det", "DFT", "MaxUnpool"]);
    assert!(unsupported.nodes[0].reason.contains("opset 18"));
}

#[test]
fn nodes_of_other_domains_have_no_rule() {
    let Built { mut emit, w, .. } = built();
    let foreign = emit.declare("foreign", emit.kind(w).clone());
    let mut node = Node::new("custom", "Mul", vec!["w".into(), "w".into()], vec!["foreign".into()]);
    "com.example".clone_into(&mut node.domain);
    emit.push(node);
    let loss = emit.sum_all(foreign);
    let unsupported = backward(&mut emit, loss, &[w]).unwrap_err();
    let expected = UnsupportedNode {
        name: "custom".to_owned(),
        op: "com.example.Mul".to_owned(),
        reason: "no gradient rule for this operator in opset 18".to_owned(),
    };
    assert_eq!(unsupported.nodes, [expected]);
}

#[test]
fn a_loss_over_an_output_without_a_rule_is_refused() {
    let Built { mut emit, .. } = built();
    let kind = ValueType::new(Dtype::F32, vec![1, 1, 2, 2]);
    let w = emit.declare("image", kind.clone());
    let kept = emit.multi_op("Dropout", &[Some(w)], vec![], vec![kind.clone(), kind.clone()]);
    let window = attribute::ints("kernel_shape", &[1, 1]);
    let outputs = emit.multi_op("MaxPool", &[Some(w)], vec![window], vec![kind.clone(), kind]);
    let loss = emit.sum_all(outputs[1]);
    let message = backward(&mut emit, loss, &[w]).unwrap_err().to_string();
    assert!(message.contains("only the first output"), "{message}");
    let loss = emit.sum_all(kept[0]);
    assert!(backward(&mut emit, loss, &[w]).is_err(), "Dropout is rewritten before gradients are taken");
}

#[test]
fn gradients_appear_in_the_same_order_each_time() {
    let nodes = || {
        let Built { mut emit, x, w } = built();
        let a = emit.mul(w, x);
        let b = emit.add(a, w);
        let c = emit.mul(a, b);
        let loss = emit.sum_all(c);
        backward(&mut emit, loss, &[w, x]).unwrap();
        emit.nodes().to_vec()
    };
    assert_eq!(nodes(), nodes());
}
