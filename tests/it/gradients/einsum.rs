use super::case::{Case, case};

pub fn cases() -> Vec<Case> {
    let sum = |equation: &'static str, operands: &[&[usize]]| {
        operands.iter().fold(case("Einsum", equation).text("equation", equation), |case, dims| case.x(dims))
    };
    vec![
        sum("ij,jk->ik", &[&[2, 3], &[3, 2]]),
        sum("bij,bjk->bik", &[&[2, 2, 3], &[2, 3, 2]]),
        sum("bqhd,bkhd->bhqk", &[&[1, 2, 2, 3], &[1, 3, 2, 3]]),
        sum("ij->ji", &[&[2, 3]]),
        sum("ij->i", &[&[2, 3]]),
        sum("ij->", &[&[2, 3]]),
        sum("i,j->ij", &[&[2], &[3]]),
        sum("i,i->", &[&[3], &[3]]),
        sum("i,i", &[&[3], &[3]]),
        sum("ij,jk", &[&[2, 3], &[3, 2]]),
        sum("ba", &[&[2, 3]]),
        sum("ij,kl->il", &[&[2, 3], &[2, 2]]),
        sum("...ij,...jk->...ik", &[&[2, 2, 3], &[2, 3, 2]]),
        sum("...ij,jk->...ik", &[&[2, 1, 2, 3], &[3, 2]]),
        sum("... i j -> ... j i", &[&[2, 2, 3]]),
        sum("ij,jk,kl->il", &[&[2, 2], &[2, 3], &[3, 2]]),
        sum("ij,ij->ij", &[&[2, 3], &[2, 3]]),
        case("Einsum", "tied").text("equation", "ij,kj->ik").x(&[2, 3]).again(0),
        sum("ii->i", &[&[3, 3]]),
        sum("ii->", &[&[3, 3]]),
        sum("iji->ji", &[&[2, 3, 2]]),
        sum("iij,jk->ik", &[&[2, 2, 3], &[3, 2]]),
        sum("ii,jj->ij", &[&[2, 2], &[3, 3]]),
        sum("iii->i", &[&[2, 2, 2]]),
    ]
}
