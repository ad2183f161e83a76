//! Why a command failed, with what to do about it.

use std::{error::Error as StdError, process::ExitCode};

use bunbun_core::config::{Fault, Faults};

/// A failed command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration cannot be used.
    Configuration(Faults),
    /// Something did not work.
    Failed {
        /// What, in a sentence without a full stop.
        problem: String,
        /// What to do about it.
        hint: String,
    },
}

impl Failure {
    /// Something did not work.
    pub(crate) fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed {
            problem: problem.into(),
            hint: hint.into(),
        }
    }

    /// Something did not work because of `error`; its causes are told too.
    pub(crate) fn because(
        problem: impl std::fmt::Display,
        error: &(dyn StdError + 'static),
        hint: impl Into<String>,
    ) -> Self {
        let chain = bunbun_core::error::chain(error);
        Self::new(format!("{problem}: {chain}"), hint)
    }

    /// The faults of the configuration, where it is that.
    pub(crate) fn faults(&self) -> &[Fault] {
        match self {
            Self::Configuration(faults) => &faults.0,
            Self::Failed { .. } => &[],
        }
    }

    /// 2 for what the user has to change first, 1 for the rest.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Configuration(_) => ExitCode::from(2),
            Self::Failed { .. } => ExitCode::from(1),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Configuration(faults) => faults.fmt(f),
            Self::Failed { problem, hint } => write!(f, "{problem} (hint: {hint})"),
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Configuration(faults)
    }
}
