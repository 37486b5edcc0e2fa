//! Which parameter is updated how: algorithm, learning rate and weight decay by name and shape.

use crate::config::matches_pattern;
use crate::config::{OptimizerKind, OptimizerPlan, ParameterGroup};
use crate::graph::update::ParameterUpdate;

/// How the parameter called `name` is updated.
///
/// The first group, by the names of the groups, that names it decides rate and decay; `no_decay` comes before that. Muon
/// takes matrices that no pattern exempts, AdamW with Muon's settings for it all others.
pub(super) fn assign(plan: &OptimizerPlan, name: &str, dims: &[usize]) -> ParameterUpdate {
    let names = |patterns: &[String]| patterns.iter().any(|pattern| matches_pattern(pattern, name));
    let group = plan.groups.values().find(|group| names(&group.parameters));
    let ParameterGroup { lr, weight_decay, .. } =
        group.cloned().unwrap_or(ParameterGroup { parameters: Vec::new(), lr: None, weight_decay: None });
    let weight_decay = if names(&plan.no_decay) { 0.0 } else { weight_decay.unwrap_or(plan.weight_decay) };
    let kind = match &plan.kind {
        OptimizerKind::Muon { betas, eps, adamw_patterns, .. } => {
            let is_matrix = dims.len() == 2 && !dims.contains(&0);
            if is_matrix && !names(adamw_patterns) {
                plan.kind.clone()
            } else {
                OptimizerKind::AdamW { betas: *betas, eps: *eps }
            }
        }
        other => other.clone(),
    };
    let lr_factor = lr.map_or(1.0, |lr| lr / plan.lr);
    ParameterUpdate { dims: dims.to_vec(), kind, lr_factor, weight_decay }
}

#[cfg(test)]
mod tests {
    use super::assign;
    use crate::config::{AdjustLr, OptimizerKind, OptimizerPlan, ParameterGroup};

    fn group(parameters: &[&str], lr: Option<f64>, weight_decay: Option<f64>) -> ParameterGroup {
        let parameters = parameters.iter().map(|pattern| (*pattern).to_owned()).collect();
        ParameterGroup { parameters, lr, weight_decay }
    }

    fn adamw() -> OptimizerPlan {
        let kind = OptimizerKind::AdamW { betas: (0.9, 0.999), eps: 1e-8 };
        OptimizerPlan { weight_decay: 0.5, ..OptimizerPlan::new(kind, 0.01) }
    }

    #[test]
    fn weight_decay_acts_only_on_parameters_no_pattern_exempts() {
        let plan = OptimizerPlan { no_decay: vec!["*.bias".into(), "*bn*".into()], ..adamw() };
        assert_eq!(assign(&plan, "fc1.bias", &[2]).weight_decay, 0.0);
        assert_eq!(assign(&plan, "stem_bn.weight", &[2]).weight_decay, 0.0);
        assert_eq!(assign(&plan, "fc1.weight", &[2]).weight_decay, 0.5);
    }

    #[test]
    fn the_first_group_by_name_that_names_a_parameter_has_it() {
        let mut plan = OptimizerPlan { no_decay: vec!["*.bias".into()], ..adamw() };
        plan.groups.insert("b".into(), group(&["*"], Some(0.02), None));
        plan.groups.insert("a".into(), group(&["stem.*", "head.*"], Some(0.001), Some(0.25)));
        let of = |name: &str| {
            let found = assign(&plan, name, &[2]);
            (found.lr_factor, found.weight_decay)
        };
        assert_eq!(of("stem.weight"), (0.1, 0.25));
        assert_eq!(of("head.bias"), (0.1, 0.0));
        assert_eq!(of("body.weight"), (2.0, 0.5));
    }

    #[test]
    fn muon_takes_matrices_and_leaves_the_rest_to_adamw() {
        let (betas, eps) = ((0.8, 0.9), 1e-7);
        let kind = OptimizerKind::Muon {
            momentum: 0.9,
            nesterov: true,
            ns_steps: 5,
            adjust_lr: AdjustLr::Original,
            betas,
            eps,
            adamw_patterns: vec!["head*".into()],
        };
        let plan = OptimizerPlan::new(kind.clone(), 0.01);
        assert_eq!(assign(&plan, "fc.weight", &[3, 4]).kind, kind);
        for (name, dims) in [("fc.bias", vec![3]), ("conv", vec![3, 4, 1, 1]), ("head.weight", vec![3, 4])] {
            assert_eq!(assign(&plan, name, &dims).kind, OptimizerKind::AdamW { betas, eps }, "{name}");
        }
    }
}
