//! The names of iii's modules, those of today and the classes of old.

/// A module that is built in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    WorkerManager,
    EngineFunctions,
    Http,
    Stream,
    State,
    Queue,
    Pubsub,
    Cron,
    Observability,
    Telemetry,
    HttpFunctions,
    Bridge,
    Exec,
    Configuration,
}

struct Names {
    kind: Kind,
    name: &'static str,
    classes: &'static [&'static str],
}

const NAMES: [Names; 14] = [
    Names {
        kind: Kind::WorkerManager,
        name: "iii-worker-manager",
        classes: &["modules::worker::WorkerModule"],
    },
    Names {
        kind: Kind::EngineFunctions,
        name: "iii-engine-functions",
        classes: &[],
    },
    Names {
        kind: Kind::Http,
        name: "iii-http",
        classes: &[
            "modules::api::RestApiModule",
            "modules::rest_api::RestApiModule",
        ],
    },
    Names {
        kind: Kind::Stream,
        name: "iii-stream",
        classes: &[
            "modules::stream::StreamModule",
            "modules::streams::StreamModule",
        ],
    },
    Names {
        kind: Kind::State,
        name: "iii-state",
        classes: &["modules::state::StateModule"],
    },
    Names {
        kind: Kind::Queue,
        name: "iii-queue",
        classes: &["modules::queue::QueueModule"],
    },
    Names {
        kind: Kind::Pubsub,
        name: "iii-pubsub",
        classes: &["modules::pubsub::PubSubModule"],
    },
    Names {
        kind: Kind::Cron,
        name: "iii-cron",
        classes: &["modules::cron::CronModule"],
    },
    Names {
        kind: Kind::Observability,
        name: "iii-observability",
        classes: &[
            "modules::observability::OtelModule",
            "modules::observability::ObservabilityModule",
        ],
    },
    Names {
        kind: Kind::Telemetry,
        name: "iii-telemetry",
        classes: &["modules::telemetry::TelemetryModule"],
    },
    Names {
        kind: Kind::HttpFunctions,
        name: "iii-http-functions",
        classes: &["modules::http_functions::HttpFunctionsModule"],
    },
    Names {
        kind: Kind::Bridge,
        name: "iii-bridge",
        classes: &["modules::bridge_client::BridgeClientModule"],
    },
    Names {
        kind: Kind::Exec,
        name: "iii-exec",
        classes: &["modules::shell::ExecModule"],
    },
    Names {
        kind: Kind::Configuration,
        name: "configuration",
        classes: &[],
    },
];

impl Kind {
    pub(super) fn of_name(name: &str) -> Option<Kind> {
        let names = NAMES.iter().find(|names| names.name == name);
        names.map(|names| names.kind)
    }

    pub(super) fn of_class(class: &str) -> Option<Kind> {
        let names = NAMES.iter().find(|names| names.classes.contains(&class));
        names.map(|names| names.kind)
    }

    /// All classes there are.
    pub(super) fn classes() -> impl Iterator<Item = &'static str> {
        NAMES.iter().flat_map(|names| names.classes).copied()
    }

    pub(super) fn name(self) -> &'static str {
        let names = NAMES.iter().find(|names| names.kind == self);
        names.expect("every kind is in the table").name
    }

    /// Several listeners, and several lines of programs, are side by side; of the others there
    /// is one.
    pub(super) fn may_repeat(self) -> bool {
        matches!(self, Kind::WorkerManager | Kind::Exec)
    }
}
