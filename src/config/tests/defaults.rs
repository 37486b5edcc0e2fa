//! What holds when little or nothing is given, against what PyTorch documents.

use super::super::{
    AdjustLr, ArrayMap, Builtin, DataSource, Device, Durability, EarlyStopping, LossKind, Metric,
    ModelSource, OptimizerKind, ScheduleKind, ScheduleUnit,
};
use super::*;

#[test]
fn with_no_settings_the_small_network_learns_the_digits() {
    let plan = plan_of_sets(&[]);
    assert_eq!(plan.model.source, ModelSource::Builtin(Builtin::Cnn));
    assert_eq!(plan.data.source, DataSource::Digits);
    assert_eq!((plan.device, plan.threads), (Device::Auto, 2));
    let array = |array: &str| ArrayMap {
        array: Some(array.to_owned()),
        columns: Vec::new(),
        file: None,
        validation_file: None,
        scale: 1.0,
        mean: Vec::new(),
        std: Vec::new(),
    };
    assert_eq!(plan.data.inputs["images"], array("images"));
    assert_eq!(plan.data.targets["labels"], array("labels"));
    assert_eq!((plan.loss.kind, plan.metrics.as_slice()), (LossKind::CrossEntropy, &[Metric::Accuracy][..]));
    assert!(matches!(plan.optimizer.kind, OptimizerKind::AdamW { .. }));
    assert_eq!(plan.schedule.kind, ScheduleKind::Cosine { t_max: None, eta_min: 0.0 });
    assert!(plan.schedule.warmup_steps > 0);
    assert_eq!((plan.train.epochs, plan.train.batch_size), (30, 64));
    assert_eq!((plan.checkpoint.keep_last, plan.checkpoint.durability), (3, Durability::Interval(1.0)));
}

#[test]
fn a_model_of_the_user_is_trained_at_a_constant_rate_like_in_pytorch() {
    let plan = plan_of_user("");
    assert_eq!((plan.schedule.kind, plan.schedule.warmup_steps), (ScheduleKind::Constant, 0));
    assert_eq!(plan.data.validation_fraction, None);
    assert!(plan.train.clip_norm.is_none());
}

#[test]
fn optimizers_have_the_defaults_of_pytorch() {
    let of = |kind: &str| plan_of_user(&format!("optimizer.kind = \"{kind}\"")).optimizer;
    let (betas, eps) = ((0.9, 0.999), 1e-8);
    let sgd = of("sgd");
    assert_eq!(sgd.kind, OptimizerKind::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false });
    assert_eq!((sgd.lr, sgd.weight_decay), (1e-3, 0.0));
    let adam = of("adam");
    assert_eq!((adam.kind, adam.lr, adam.weight_decay), (OptimizerKind::Adam { betas, eps }, 1e-3, 0.0));
    let adamw = of("adamw");
    assert_eq!((adamw.kind, adamw.lr, adamw.weight_decay), (OptimizerKind::AdamW { betas, eps }, 1e-3, 1e-2));
}

#[test]
fn further_optimizers_have_the_defaults_of_pytorch_or_of_their_papers() {
    let of = |kind: &str| plan_of_user(&format!("optimizer.kind = \"{kind}\"")).optimizer;
    let (betas, eps, decoupled_weight_decay) = ((0.9, 0.999), 1e-8, false);
    let check = |kind: &str, expected: OptimizerKind, lr: f64, weight_decay: f64| {
        let found = of(kind);
        assert_eq!((found.kind, found.lr, found.weight_decay), (expected, lr, weight_decay));
    };
    let rms_prop = OptimizerKind::RmsProp { alpha: 0.99, eps, momentum: 0.0, centered: false };
    check("rmsprop", rms_prop, 1e-2, 0.0);
    check("adagrad", OptimizerKind::Adagrad { lr_decay: 0.0, eps: 1e-10 }, 1e-2, 0.0);
    check("adadelta", OptimizerKind::Adadelta { rho: 0.9, eps: 1e-6 }, 1.0, 0.0);
    let nadam = OptimizerKind::NAdam { betas, eps, momentum_decay: 4e-3, decoupled_weight_decay };
    check("nadam", nadam, 2e-3, 0.0);
    check("radam", OptimizerKind::RAdam { betas, eps, decoupled_weight_decay }, 1e-3, 0.0);
    check("lion", OptimizerKind::Lion { betas: (0.9, 0.99) }, 1e-4, 0.0);
    check("lamb", OptimizerKind::Lamb { betas, eps: 1e-6 }, 1e-3, 0.01);
    let (beta2_decay, eps, relative_eps, clip_threshold) = (-0.8, 1.192_092_9e-7, 1e-3, 1.0);
    assert_eq!(eps as f32, f32::EPSILON);
    let adafactor = OptimizerKind::Adafactor { beta2_decay, eps, relative_eps, clip_threshold };
    check("adafactor", adafactor, 1e-2, 0.0);
    let eps = 1e-8;
    let muon = OptimizerKind::Muon {
        momentum: 0.95,
        nesterov: true,
        ns_steps: 5,
        adjust_lr: AdjustLr::Original,
        betas,
        eps,
        adamw_patterns: Vec::new(),
    };
    check("muon", muon, 1e-3, 0.1);
    assert_eq!(plan_of_sets(&["optimizer.kind=adadelta"]).optimizer.lr, 1.0);
    assert_eq!(plan_of_sets(&["optimizer.kind=radam"]).optimizer.lr, 3e-3);
}

#[test]
fn schedules_have_the_defaults_of_pytorch() {
    let of = |lines: &str| plan_of_user(&format!("[schedule]\n{lines}")).schedule;
    let step = of("kind = \"step\"\nstep_size = 3");
    assert_eq!(step.kind, ScheduleKind::Step { step_size: 3, gamma: 0.1 });
    assert_eq!(step.unit, ScheduleUnit::Epoch);
    let multistep = of("kind = \"multistep\"\nmilestones = [3, 5]");
    assert_eq!(multistep.kind, ScheduleKind::MultiStep { milestones: vec![3, 5], gamma: 0.1 });
    assert_eq!(multistep.unit, ScheduleUnit::Epoch);
    assert_eq!(of("kind = \"exponential\"\ngamma = 0.9").unit, ScheduleUnit::Epoch);
    let cosine = of("kind = \"cosine\"");
    assert_eq!(cosine.kind, ScheduleKind::Cosine { t_max: None, eta_min: 0.0 });
    assert_eq!(cosine.unit, ScheduleUnit::Step);
    let one_cycle = of("kind = \"one_cycle\"");
    assert_eq!(
        one_cycle.kind,
        ScheduleKind::OneCycle { pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4 }
    );
    assert_eq!((one_cycle.unit, one_cycle.warmup_steps), (ScheduleUnit::Step, 0));
    let polynomial = of("kind = \"polynomial\"");
    assert_eq!(polynomial.kind, ScheduleKind::Polynomial { power: 1.0, total: None });
    assert_eq!(polynomial.unit, ScheduleUnit::Step);
    assert_eq!(
        of("kind = \"reduce_on_plateau\"").kind,
        ScheduleKind::ReduceOnPlateau {
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            cooldown: 0,
            min_lr: 0.0
        }
    );
}

#[test]
fn the_metric_follows_the_loss() {
    let of = |kind: &str| plan_of_user(&format!("loss.kind = \"{kind}\"")).metrics;
    assert_eq!(of("bce_with_logits"), [Metric::Accuracy]);
    assert_eq!(of("mse"), [Metric::Mae]);
    assert_eq!(of("l1"), [Metric::Mae]);
    assert_eq!(of("output"), []);
}

#[test]
fn early_stopping_watches_the_training_loss_where_nothing_else_is_measured() {
    let monitor = |lines: &str| {
        let plan = plan_of_user(&format!("train.early_stopping.patience = 3\n{lines}"));
        plan.train.early_stopping.map(|EarlyStopping { monitor, .. }| monitor)
    };
    assert_eq!(monitor("").as_deref(), Some("train_loss"));
    assert_eq!(monitor("data.validation_fraction = 0.1").as_deref(), Some("val_loss"));
}

#[test]
fn a_loss_of_the_model_itself_needs_no_target() {
    let plan = plan_of(&format!("{}\nloss.kind = \"output\"", USER.replace("data.targets", "data.inputs")));
    assert!(plan.data.targets.is_empty());
}
