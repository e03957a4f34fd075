//! What a topology file gives to compare daemons by: its first scenario names the member, the stream and the faults.

use std::time::Duration;

use router_core::config::Multicast;

use crate::topology::plan::{NodeId, Plan, WireId};
use crate::topology::steps::{Action, Cut, CutKind, Stream, nth_group};

/// Who is measured, and what is done to the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Roles {
    /// The host of the first `join`.
    pub member: NodeId,
    /// The wire that it is on.
    pub campus: WireId,
    /// The first `stream`.
    pub stream: Stream,
    /// The first `fail` by a lost carrier.
    pub carrier: Cut,
    /// The first silent `fail`, with the time after which unicast notices it.
    pub silent: Cut,
    /// That time.
    pub detected_after: Duration,
}

/// Why daemons cannot be compared by a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotComparable {
    /// Nobody speaks sparse mode.
    #[error("no router speaks sparse mode: give them `multicast: pim-sm`")]
    NoSparseRouter,
    /// A router does something else.
    #[error("{0} does not speak sparse mode: give it `multicast: pim-sm`, as the others have")]
    OtherRouter(String),
    /// There is nothing that says what to do.
    #[error("there is no scenario: its first one says who joins, what is sent and what fails")]
    NoScenario,
    /// A step is missing.
    #[error("the scenario {scenario} has no {what}, such as `{example}`")]
    NoStep {
        /// The scenario.
        scenario: String,
        /// What step.
        what: &'static str,
        /// One that would do.
        example: &'static str,
    },
    /// The cut that is a step of both kinds must be of one wire, or the stream would have to take both.
    #[error(
        "the scenario {scenario} fails {carrier} by its carrier, but {silent} silently: fail the same link both ways"
    )]
    TwoWires {
        /// The scenario.
        scenario: String,
        /// The wire that loses its carrier.
        carrier: String,
        /// The wire that is cut silently.
        silent: String,
    },
}

impl Roles {
    /// Reads them from a plan.
    ///
    /// # Errors
    /// [`NotComparable`] says what the file lacks.
    pub fn of(plan: &Plan) -> Result<Roles, NotComparable> {
        let routers = || plan.nodes.iter().filter_map(|node| Some((node, node.router()?)));
        if !routers().any(|(_, router)| router.multicast == Multicast::PimSm) {
            return Err(NotComparable::NoSparseRouter);
        }
        if let Some((node, _)) = routers().find(|(_, router)| router.multicast != Multicast::PimSm) {
            return Err(NotComparable::OtherRouter(node.name.clone()));
        }
        let scenario = plan.scenarios.first().ok_or(NotComparable::NoScenario)?;
        let no = |what, example| NotComparable::NoStep { scenario: scenario.name.clone(), what, example };
        let actions = || scenario.steps.iter().map(|step| &step.action);
        let stream = actions().find_map(|action| if let Action::Stream(stream) = action { Some(stream) } else { None });
        let stream = stream.ok_or_else(|| no("stream", "stream: {name: news, from: src, group: 239.1.1.1}"))?.clone();
        let joins = |action: &Action| match action {
            Action::Join { hosts, group, .. } if *group == stream.group => hosts.first().copied(),
            _ => None,
        };
        let member = actions().find_map(joins);
        let member =
            member.ok_or_else(|| no("join of the stream's group", "join: {hosts: [dst], group: 239.1.1.1}"))?;
        let cut = |how: CutKind| {
            let cut = |action: &Action| match action {
                Action::Fail(cut) if cut.how == how => Some(cut.clone()),
                _ => None,
            };
            actions().find_map(cut)
        };
        let carrier = cut(CutKind::Carrier).ok_or_else(|| no("failure by a lost carrier", "fail: {link: direct}"))?;
        let silent = cut(CutKind::Silent).and_then(|cut| Some((cut.detected_after?, cut)));
        let example = "fail: {link: direct, how: silent, detected-after: 1s}";
        let (detected_after, silent) =
            silent.ok_or_else(|| no("silent failure that unicast notices after a time", example))?;
        if carrier.wire != silent.wire {
            return Err(NotComparable::TwoWires {
                scenario: scenario.name.clone(),
                carrier: plan.wire(carrier.wire).name.clone(),
                silent: plan.wire(silent.wire).name.clone(),
            });
        }
        let campus = plan.node(member).interfaces.first().map_or(WireId(0), |interface| interface.wire);
        Ok(Roles { member, campus, stream, carrier, silent, detected_after })
    }

    /// The wire that fails: the stream's, as long as it works.
    pub fn direct(&self) -> WireId {
        self.carrier.wire
    }

    /// The stream to the next group, as another one.
    pub fn next_stream(&self) -> Stream {
        self.stream_beyond("next", 0)
    }

    /// The stream to a group that is joined last.
    pub fn unjoined_stream(&self) -> Stream {
        self.stream_beyond("unjoined", 1)
    }

    fn stream_beyond(&self, word: &str, groups: u32) -> Stream {
        let group = nth_group(self.stream.group, self.stream.groups + groups);
        Stream { name: format!("{}-{word}", self.stream.name), group, ..self.stream.clone() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::topology::plan::NodeKind;

    pub(in crate::compare) const FILE: &str = include_str!("../../topologies/compare-sparse.yaml");

    fn roles(from: &str, to: &str) -> Result<Roles, NotComparable> {
        assert!(FILE.contains(from), "{from}");
        Roles::of(&crate::topology::parse("test.yaml", &FILE.replace(from, to)).unwrap())
    }

    #[test]
    fn the_shipped_file_says_who_and_what() {
        let plan = crate::topology::parse("test.yaml", FILE).unwrap();
        let roles = Roles::of(&plan).unwrap();
        assert_eq!(plan.node(roles.member).name, "dst");
        assert_eq!((&*plan.wire(roles.campus).name, &*plan.wire(roles.direct()).name), ("campus", "direct"));
        assert_eq!(roles.next_stream().group.to_string(), "239.1.1.2");
    }

    #[test]
    fn what_a_file_lacks_is_named() {
        let said = |from: &str, to: &str| roles(from, to).unwrap_err().to_string();
        assert!(said("how: silent, detected-after: 1s", "how: silent").contains("detected-after"));
        assert!(said("{link: direct, how: silent", "{link: up, how: silent").contains("up silently"));
        assert!(
            said("- fail:   {link: direct}\n", "- fail:   {link: direct, how: admin, end: r1}\n")
                .contains("lost carrier")
        );
    }

    #[test]
    fn routers_that_do_not_speak_sparse_mode_are_named() {
        let mut plan = crate::topology::parse("test.yaml", FILE).unwrap();
        let set = |plan: &mut Plan, name: &str, multicast| {
            let node = plan.find_node(name).unwrap();
            let NodeKind::Router(router) = &mut plan.nodes[node.0].kind else { panic!("{name} is no router") };
            router.multicast = multicast;
        };
        set(&mut plan, "r1", Multicast::PimDm);
        assert!(Roles::of(&plan).unwrap_err().to_string().starts_with("r1 does not speak sparse mode"));
        set(&mut plan, "r2", Multicast::PimDm);
        set(&mut plan, "rp", Multicast::PimDm);
        assert_eq!(Roles::of(&plan), Err(NotComparable::NoSparseRouter));
    }
}
