use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    [products(), general()].concat()
}

fn products() -> Vec<Case> {
    let product = |about, a: &[usize], b: &[usize]| case("MatMul", about).x(a).x(b);
    vec![
        product("matrix by matrix", &[2, 3], &[3, 4]),
        product("vector by vector", &[3], &[3]),
        product("vector by matrix", &[3], &[3, 2]),
        product("matrix by vector", &[2, 3], &[3]),
        product("batch by matrix", &[2, 2, 3], &[3, 2]),
        product("two batch axes by matrix", &[2, 1, 2, 3], &[3, 2]),
        product("matrix by batch", &[2, 3], &[2, 3, 2]),
        product("batch by batch", &[2, 2, 3], &[2, 3, 2]),
        product("batches that broadcast", &[2, 1, 2, 3], &[3, 3, 2]),
        product("a batch of one", &[1, 2, 3], &[2, 3, 2]),
        product("batch by vector", &[2, 2, 3], &[3]),
        product("vector by batch", &[3], &[2, 3, 2]),
        product("rank 4 by vector", &[2, 1, 2, 3], &[3]),
        product("one element", &[1, 1], &[1, 1]),
        product("no rows", &[0, 3], &[3, 2]),
        case("MatMul", "tied").x(&[3, 3]).again(0),
        case("MatMul", "a constant on the left").fixed(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).x(&[2, 3]),
        case("MatMul", "a constant on the right").x(&[2, 2, 2]).fixed(&[2, 2], &[1.0, 2.0, 3.0, 4.0]),
    ]
}

fn general() -> Vec<Case> {
    vec![
        case("Gemm", "without addend").x(&[2, 3]).x(&[3, 4]),
        case("Gemm", "left transposed").x(&[3, 2]).x(&[3, 4]).x(&[4]).int("transA", 1),
        case("Gemm", "right transposed").x(&[2, 3]).x(&[4, 3]).x(&[4]).int("transB", 1),
        case("Gemm", "both transposed").x(&[3, 2]).x(&[4, 3]).x(&[2, 4]).int("transA", 1).int("transB", 1),
        case("Gemm", "factors").x(&[2, 3]).x(&[3, 4]).x(&[2, 1]).float("alpha", 0.5).float("beta", -2.0),
        case("Gemm", "factors, both transposed")
            .x(&[3, 2])
            .x(&[4, 3])
            .x(&[1, 4])
            .int("transA", 1)
            .int("transB", 1)
            .float("alpha", -1.5)
            .float("beta", 0.25),
        case("Gemm", "a scalar addend").x(&[2, 3]).x(&[3, 2]).x(&[]),
        case("Gemm", "an addend of one element").x(&[2, 3]).x(&[3, 2]).x(&[1]),
        case("Gemm", "a beta of 0").x(&[2, 3]).x(&[3, 2]).x(&[2]).float("beta", 0.0),
        case("Gemm", "tied").x(&[3, 3]).again(0).again(0).int("transB", 1),
        case("Gemm", "no rows").x(&[0, 3]).x(&[3, 2]).x(&[2]),
    ]
}
