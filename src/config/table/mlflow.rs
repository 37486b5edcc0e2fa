//! `[mlflow]`: the tracking server that a run is told to. Nothing that is trained depends on it.

use crate::config::differences::Class;
use crate::config::key::DefaultValue::{Always, Derived};
use crate::config::key::{Key, Takes};

pub(super) const MLFLOW: &[Key] = &[
    Key::new(
        "mlflow.uri",
        "The MLflow tracking server that parameters, metrics, the model and the state of the run are sent to. One that \
         is down or slow never delays training; what it missed is sent later.",
        Takes::Text,
        Derived { words: "MLFLOW_TRACKING_URI, or none", example: "\"http://127.0.0.1:5000\"" },
    )
    .class(Class::Free)
    .also_known_as(&["tracking_uri"]),
    Key::new(
        "mlflow.experiment",
        "The experiment of the run; it is made if there is none of this name.",
        Takes::Text,
        Derived { words: "MLFLOW_EXPERIMENT_NAME, or \"Default\"", example: "\"digits\"" },
    )
    .class(Class::Free)
    .also_known_as(&["experiment_name"]),
    Key::new(
        "mlflow.run_name",
        "What the run is called there.",
        Takes::Text,
        Derived { words: "the name of the work directory", example: "\"vgg11-320\"" },
    )
    .class(Class::Free),
    Key::new(
        "mlflow.artifact",
        "Whether the trained model.onnx is sent, through the server, when the run is finished.",
        Takes::Bool,
        Always("true"),
    )
    .class(Class::Free)
    .also_known_as(&["log_model"]),
    Key::new(
        "mlflow.every_steps",
        "Send loss, learning rate and gradient norm of every so many steps; 0 means none, only epochs.",
        Takes::from(0),
        Always("10"),
    )
    .unit("steps")
    .class(Class::Free),
];
