use super::case::{Case, NEWEST, case};

pub fn cases() -> Vec<Case> {
    let with_batch_statistics = |about, x: &[usize]| {
        let channels = [x[1]];
        normalize(about, x)
            .x(&channels)
            .x_within(&channels, 0.5, 2.0)
            .training()
            .opsets(&[13, 14, 15, NEWEST])
    };
    vec![
        normalize("fixed statistics", &[2, 3, 2, 2])
            .fixed(&[3], &[0.5, -0.25, 0.0])
            .fixed(&[3], &[0.5, 1.0, 2.0])
            .opsets(&[13, 14, 15, NEWEST]),
        normalize("fixed statistics, large epsilon", &[2, 2])
            .fixed(&[2], &[0.5, -0.25])
            .fixed(&[2], &[0.0, 1.0])
            .float("epsilon", 0.5),
        normalize("fixed statistics in training, which are frozen", &[3, 2])
            .fixed(&[2], &[0.5, -0.25])
            .fixed(&[2], &[0.5, 1.0])
            .training(),
        normalize("trained statistics", &[2, 2])
            .x(&[2])
            .x_within(&[2], 0.5, 2.0)
            .refused("statistics depend on parameters"),
        with_batch_statistics("batch statistics of planes", &[2, 3, 2, 2]),
        with_batch_statistics("batch statistics of rows", &[4, 3]),
        with_batch_statistics("batch statistics of volumes", &[2, 2, 1, 2, 2]),
        with_batch_statistics("batch statistics, large epsilon", &[3, 2, 2]).float("epsilon", 0.5),
        with_batch_statistics("batch statistics of one channel", &[3, 1, 2]),
        with_batch_statistics("exported in training mode", &[2, 2, 3])
            .int("training_mode", 1)
            .outputs(3)
            .opsets(&[15, NEWEST])
            .only_first_output(),
    ]
}

/// A node with varied data, scale and bias; the statistics follow.
fn normalize(about: &'static str, x: &[usize]) -> Case {
    let channels = [x[1]];
    case("BatchNormalization", about).x(x).x(&channels).x(&channels)
}
