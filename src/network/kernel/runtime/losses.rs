//! Messages that are lost on their way into a wire, and how many were.

use super::super::nft::Drops;
use super::super::operate::{OperateError, Operator};
use crate::network::LossId;
use crate::topology::plan::{Attachment, WireId};
use crate::topology::steps::MessageLoss;

/// What is dropped at each end.
pub fn drops(id: LossId, loss: &MessageLoss) -> Drops {
    Drops::Messages { id: id.0, message: loss.message, count: loss.count }
}

/// Losses that were asked for, those that have been undone too.
#[derive(Debug, Default)]
pub struct Losses {
    all: Vec<Lost>,
}

#[derive(Debug)]
struct Lost {
    loss: MessageLoss,
    /// Where it is in force.
    ends: Vec<Attachment>,
    /// What it had taken where it is in force no more.
    taken: u64,
}

impl Losses {
    /// Notes a loss that is to be at these ends.
    pub fn add(&mut self, loss: &MessageLoss, ends: Vec<Attachment>) -> LossId {
        self.all.push(Lost { loss: loss.clone(), ends, taken: 0 });
        LossId(self.all.len() - 1)
    }

    /// How many messages one has taken.
    pub fn dropped(&self, id: LossId, operator: &mut Operator<'_>) -> Result<u64, OperateError> {
        let Some(lost) = self.all.get(id.0) else { return Ok(0) };
        let mut taken = lost.taken;
        for end in &lost.ends {
            taken += operator.dropped(*end, drops(id, &lost.loss))?;
        }
        Ok(taken)
    }

    /// Ends the losses of a wire; with an end, those of that end alone.
    pub fn end(
        &mut self,
        wire: WireId,
        end: Option<Attachment>,
        operator: &mut Operator<'_>,
    ) -> Result<(), OperateError> {
        for (index, lost) in self.all.iter_mut().enumerate() {
            if lost.loss.wire != wire || (end.is_some() && lost.loss.from != end) {
                continue;
            }
            let drops = drops(LossId(index), &lost.loss);
            while let Some(at) = lost.ends.last() {
                lost.taken += operator.dropped(*at, drops)?;
                operator.drop_no_more(*at, drops)?;
                lost.ends.pop();
            }
        }
        Ok(())
    }
}
