use super::case::{Case, NEWEST, case};

/// Steps, batch, inputs and hidden numbers of every case.
const STEPS: usize = 3;
const BATCH: usize = 2;
const INPUTS: usize = 2;
const HIDDEN: usize = 2;

pub fn cases() -> Vec<Case> {
    [long_short_term_memories(), gated_units(), plain_layers(), refusals()].concat()
}

/// A layer with this many gates and directions over fixed data; weights and biases are varied.
fn layer(op: &'static str, about: &'static str, gates: usize, directions: usize) -> Case {
    let rows = gates * HIDDEN;
    let made = case(op, about)
        .x_within(&[STEPS, BATCH, INPUTS], -1.0, 1.0)
        .x_within(&[directions, rows, INPUTS], -1.0, 1.0)
        .x_within(&[directions, rows, HIDDEN], -1.0, 1.0)
        .x_within(&[directions, 2 * rows], -1.0, 1.0)
        .int("hidden_size", HIDDEN as i64)
        .single_curved();
    if directions == 2 { made.text("direction", "bidirectional") } else { made }
}

fn state(case: Case, directions: usize) -> Case {
    case.x_within(&[directions, BATCH, HIDDEN], -1.0, 1.0)
}

/// What every kind of layer has: directions, lengths, initial states, and outputs that the loss reads or not.
fn common(op: &'static str, gates: usize, states: usize) -> Vec<Case> {
    let initial = |made: Case, directions: usize| (0..states).fold(made, |made, _| state(made, directions));
    let outputs = states + 1;
    vec![
        layer(op, "forward", gates, 1).opsets(&[13, 14, 22, NEWEST]),
        layer(op, "backward", gates, 1).text("direction", "reverse"),
        layer(op, "all outputs", gates, 1).outputs(outputs),
        layer(op, "all outputs, backward", gates, 1).text("direction", "reverse").outputs(outputs),
        layer(op, "both directions", gates, 2).outputs(outputs),
        initial(layer(op, "initial states", gates, 1).absent(), 1).outputs(outputs),
        initial(layer(op, "initial states, both directions", gates, 2).absent(), 2).outputs(outputs),
        layer(op, "lengths", gates, 2).small_ints(&[3, 2]).outputs(outputs),
        initial(layer(op, "lengths and initial states", gates, 2).small_ints(&[1, 3]), 2).outputs(outputs),
        case(op, "without bias, one step")
            .x(&[1, BATCH, INPUTS])
            .x(&[1, gates * HIDDEN, INPUTS])
            .x(&[1, gates * HIDDEN, HIDDEN])
            .int("hidden_size", HIDDEN as i64)
            .single_curved(),
    ]
}

fn long_short_term_memories() -> Vec<Case> {
    let more = vec![
        state(layer("LSTM", "an initial hidden state alone", 4, 1).absent(), 1),
        layer("LSTM", "the default activations, named", 4, 1)
            .texts("activations", &["Sigmoid", "Tanh", "Tanh"]),
        layer("LSTM", "as the older exporter writes it", 4, 1)
            .int("input_forget", 0)
            .int("layout", 0)
            .opsets(&[14]),
    ];
    [common("LSTM", 4, 2), more].concat()
}

fn gated_units() -> Vec<Case> {
    let after: Vec<Case> = common("GRU", 3, 1)
        .into_iter()
        .map(|case| Case { about: "reset after the product", ..case }.int("linear_before_reset", 1))
        .collect();
    [common("GRU", 3, 1), after].concat()
}

fn plain_layers() -> Vec<Case> {
    let more = vec![
        layer("RNN", "relu", 1, 1).texts("activations", &["Relu"]),
        layer("RNN", "relu in both directions", 1, 2).texts("activations", &["Relu", "Relu"]).outputs(2),
    ];
    [common("RNN", 1, 1), more].concat()
}

fn refusals() -> Vec<Case> {
    vec![
        case("GRU", "no step")
            .x(&[0, BATCH, INPUTS])
            .x(&[1, 3 * HIDDEN, INPUTS])
            .x(&[1, 3 * HIDDEN, HIDDEN])
            .int("hidden_size", HIDDEN as i64)
            .refused("0 steps of 2 hidden values"),
        layer("LSTM", "clipped gates", 4, 1).float("clip", 1.0).refused("clipped"),
        layer("LSTM", "coupled gates", 4, 1).int("input_forget", 1).refused("input_forget"),
        layer("LSTM", "gates that look at the cell", 4, 1)
            .absent()
            .absent()
            .absent()
            .x(&[1, 3 * HIDDEN])
            .refused("no input `P`"),
        layer("LSTM", "other activations", 4, 1)
            .texts("activations", &["HardSigmoid", "Tanh", "Tanh"])
            .refused("its activations are"),
        layer("GRU", "other activations", 3, 1)
            .texts("activations", &["Sigmoid", "Relu"])
            .refused("its activations are"),
        layer("RNN", "other activations", 1, 1)
            .texts("activations", &["Sigmoid"])
            .refused("its activations are"),
    ]
}
