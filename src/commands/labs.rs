//! What the verbs that deal with labs share: where labs lie, which one is meant, and how its errors end the program.

use std::path::PathBuf;

use super::{Failure, Outcome};
use crate::lab::client::LabError;
use crate::lab::state::StateError;
use crate::lab::{Base, Lab};

/// Where labs lie.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Where {
    /// Directory that holds the labs' state, one directory a lab
    #[arg(long, value_name = "DIR", env = crate::lab::state::VARIABLE)]
    pub state_dir: Option<PathBuf>,
}

impl Where {
    /// The base directory.
    pub fn base(&self) -> std::result::Result<Base, Failure> {
        Ok(Base::find(self.state_dir.as_deref())?)
    }
}

/// Which lab is meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Which {
    /// The lab; not needed if only one is up
    #[arg(long, value_name = "NAME")]
    pub lab: Option<String>,
    #[command(flatten)]
    place: Where,
}

impl Which {
    /// The lab.
    pub fn choose(&self) -> std::result::Result<Lab, Failure> {
        Ok(Lab::choose(&self.place.base()?, self.lab.as_deref())?)
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Failure {
        let outcome = if error.is_input() { Outcome::BadInput } else { Outcome::Machine };
        Failure { outcome, message: error.to_string() }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Failure {
        LabError::from(error).into()
    }
}
