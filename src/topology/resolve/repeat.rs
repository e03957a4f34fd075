//! Steps that are repeated for each of several things, written out.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Resolver;
use crate::topology::fault::{Fault, FaultKind};
use crate::topology::file::{self, EACH, Selection};
use crate::topology::plan::WireKind;
use crate::topology::read::{At, Read};
use crate::topology::tree::{NODE_LIMIT, Span};

/// Steps of a scenario, what is repeated written out.
const STEP_LIMIT: usize = 10_000;

/// A step as it will be played.
pub(super) struct Flat<'f> {
    pub step: Cow<'f, At<file::Step>>,
    /// The item that it is repeated for, and where that stands.
    pub each: Option<At<String>>,
    /// Of `random`: the steps after each round.
    pub then: Vec<Flat<'f>>,
}

/// What is known of a scenario's steps before any is played.
#[derive(Default)]
pub(super) struct Unfolding {
    /// Steps that are written out, so far.
    pub count: usize,
    /// Whether a step that may have been a `join` or `leave` can't be read.
    pub members_unsure: bool,
    /// Whether a step that may have been a `stream` can't be read.
    pub streams_unsure: bool,
    /// Places of faults in repeated steps: of each, the first is enough.
    told: BTreeSet<(usize, usize)>,
}

impl Unfolding {
    fn note(&mut self, slot: &file::Slot) {
        self.members_unsure |= slot.may_lack(&["join", "leave", "for-each", "random"]);
        self.streams_unsure |= slot.may_lack(&["stream", "for-each", "random"]);
    }

    /// Notes that steps are missing.
    fn lacks_steps(&mut self) {
        self.members_unsure = true;
        self.streams_unsure = true;
    }
}

impl<'f> Resolver<'f> {
    /// Writes steps out.
    pub(super) fn unfold(
        &mut self,
        slots: &'f [file::Slot],
        unfolding: &mut Unfolding,
        in_random: bool,
    ) -> Vec<Flat<'f>> {
        let mut flats = Vec::new();
        for slot in slots {
            unfolding.note(slot);
            let Some(step) = &slot.step else { continue };
            let mut then = Vec::new();
            match &step.value {
                file::Step::ForEach(each) => {
                    match self.each(each, &step.span, unfolding) {
                        Some(steps) => flats.extend(steps),
                        None => unfolding.lacks_steps(),
                    }
                    continue;
                }
                file::Step::Random(_) if in_random => {
                    self.fault(&step.span, FaultKind::NestedStep { step: "random", around: "random" });
                    unfolding.lacks_steps();
                    continue;
                }
                file::Step::Random(random) => {
                    let slots = random.then.as_ref().map_or(&[][..], |then| &then.value);
                    then = self.unfold(slots, unfolding, true);
                    // What is drawn and what follows; once more at the end, when all is undone.
                    let rounds: usize = random.rounds.value.get();
                    let count = (rounds + 1).saturating_mul(then.len() + 1);
                    if !self.unfolds_to(count, count, &step.span, unfolding) {
                        unfolding.lacks_steps();
                        continue;
                    }
                }
                _ => unfolding.count += 1,
            }
            flats.push(Flat { step: Cow::Borrowed(step), each: None, then });
        }
        flats
    }

    /// Whether so many more steps, made of so many values, are within bounds.
    fn unfolds_to(&mut self, steps: usize, values: usize, span: &Span, unfolding: &mut Unfolding) -> bool {
        let count = unfolding.count.saturating_add(steps);
        if count > STEP_LIMIT {
            self.fault(span, FaultKind::TooMany { what: "steps in the scenario up to here", count, limit: STEP_LIMIT });
            return false;
        }
        unfolding.count = count;
        self.unfolded = self.unfolded.saturating_add(values);
        if self.unfolded > NODE_LIMIT {
            self.fault(span, FaultKind::TooManyNodes { limit: NODE_LIMIT });
            return false;
        }
        true
    }

    /// The steps of a `for-each`, for each of its items.
    fn each(&mut self, each: &'f file::ForEach, span: &Span, unfolding: &mut Unfolding) -> Option<Vec<Flat<'f>>> {
        let items = self.items(each, span);
        if each.steps.is_empty() {
            let kind = FaultKind::WrongCount { what: "`for-each`", needed: "at least one step", count: 0 };
            self.fault(&each.steps.span, kind);
            return None;
        }
        let items = items?;
        let values: usize = each.steps.iter().map(|step| step.node.weight()).sum();
        let count = items.len().saturating_mul(each.steps.len());
        if !self.unfolds_to(count, items.len().saturating_mul(values), span, unfolding) {
            return None;
        }
        let mut flats = Vec::new();
        for item in &items {
            for raw in &each.steps.value {
                let mark = self.cx.mark();
                let replaced = raw.node.with_word(EACH, item);
                let slot = file::Slot::read(replaced.as_ref().unwrap_or(&raw.node), self.cx)?;
                let nested = match slot.step.as_ref().map(|step| &step.value) {
                    Some(file::Step::ForEach(_)) => Some("for-each"),
                    Some(file::Step::Random(_)) => Some("random"),
                    _ => None,
                };
                if let (Some(step), Some(at)) = (nested, &slot.step) {
                    self.fault(&at.span, FaultKind::NestedStep { step, around: "for-each" });
                }
                self.tell_once(mark, unfolding, &item.span, &format!("`$each` is `{}`", item.value));
                unfolding.note(&slot);
                match slot.step {
                    Some(step) if nested.is_none() => {
                        flats.push(Flat { step: Cow::Owned(step), each: Some(item.clone()), then: Vec::new() });
                    }
                    Some(_) => unfolding.lacks_steps(),
                    None => {}
                }
            }
        }
        Some(flats)
    }

    /// Keeps, of the faults since a mark, those at places of which none was told before, and says in which repetition it is.
    pub(super) fn tell_once(&mut self, mark: usize, unfolding: &mut Unfolding, at: &Span, when: &str) {
        self.cx.amend(mark, |fault: &mut Fault| {
            // Where the same line is the other place, it is the repetition that makes two of it.
            if fault.related.as_ref().is_none_or(|(span, _)| *span == fault.span) {
                fault.related = Some((at.clone(), when.to_owned()));
            }
            unfolding.told.insert((fault.span.start, fault.span.end))
        });
    }

    /// The items of a `for-each`.
    fn items(&mut self, each: &file::ForEach, span: &Span) -> Option<Vec<At<String>>> {
        let kinds = [("router", &each.router), ("host", &each.host), ("link", &each.link), ("lan", &each.lan)];
        let mut given = kinds.iter().filter_map(|(kind, items)| items.as_ref().map(|items| (*kind, items)));
        let Some((kind, selection)) = given.next() else {
            // A slip of the pen in the key has been told.
            if !self.cx.misread(file::ForEach::WHAT, &kinds.map(|(kind, _)| kind)) {
                let known = kinds.iter().map(|(kind, _)| (*kind).to_owned()).collect();
                self.fault(span, FaultKind::NoneOfKeys { of: file::ForEach::WHAT, known });
            }
            return None;
        };
        if let Some((second, items)) = given.next() {
            let (first, second) = (kind.to_owned(), second.to_owned());
            self.fault(&items.span, FaultKind::KeysExclude { of: "`for-each`", first, second });
            return None;
        }
        let items = match &selection.value {
            Selection::All => {
                let nodes = |routers: bool| self.plan.nodes.iter().filter(move |n| n.is_router() == routers);
                let wires = |links: bool| self.plan.wires.iter().filter(move |w| (w.kind == WireKind::Link) == links);
                let names: Vec<&str> = match kind {
                    "router" => nodes(true).map(|node| node.name.as_str()).collect(),
                    "host" => nodes(false).map(|node| node.name.as_str()).collect(),
                    "link" => wires(true).map(|wire| wire.name.as_str()).collect(),
                    _ => wires(false).map(|wire| wire.name.as_str()).collect(),
                };
                names.into_iter().map(|name| At { value: name.to_owned(), span: selection.span.clone() }).collect()
            }
            Selection::Named(names) => self.named(kind, names)?,
        };
        if items.is_empty() && !self.wires_unread && self.unread.is_empty() {
            let needed = match kind {
                "router" => "at least one router",
                "host" => "at least one host",
                "link" => "at least one link",
                _ => "at least one LAN",
            };
            self.fault(&selection.span, FaultKind::WrongCount { what: "`for-each`", needed, count: 0 });
        }
        (!items.is_empty()).then_some(items)
    }

    /// Those of a list of names that name something of a kind; nothing if one does not, or is there twice.
    fn named(&mut self, kind: &str, names: &[At<String>]) -> Option<Vec<At<String>>> {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut good = true;
        for name in names {
            let (what, found) = match kind {
                "router" => ("router", self.router(name).is_some()),
                "host" => ("host", self.host(name).is_some()),
                "link" => ("link", self.wire_of(name, WireKind::is_link, "link").is_some()),
                _ => ("LAN", self.wire_of(name, |kind| !kind.is_link(), "LAN").is_some()),
            };
            good &= found;
            if !seen.insert(name) {
                self.fault(&name.span, FaultKind::DuplicateName { what, name: name.value.clone() });
                good = false;
            }
        }
        good.then(|| names.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::parse;
    use crate::topology::steps::{Action, Expectation, Scenario};

    /// The one scenario of a small network.
    fn played(steps: &str) -> Scenario {
        let text = format!(
            "
name: small
nodes:
  src: {{kind: host}}
  r1: {{kind: router}}
  r2: {{kind: router}}
  h1: {{kind: host}}
  h2: {{kind: host}}
links:
  - {{between: [r1, r2]}}
lans:
  campus: {{nodes: [src, r1, h1]}}
  lab: {{nodes: [r2, h2]}}
scenarios:
  - name: test
    steps:
{steps}"
        );
        parse("test.yaml", &text).unwrap_or_else(|faults| panic!("{faults}")).scenarios.remove(0)
    }

    fn said(scenario: &Scenario) -> Vec<String> {
        scenario.steps.iter().map(|step| format!("{}: {}", step.line, step.text)).collect()
    }

    #[test]
    fn the_steps_are_repeated_with_their_lines_for_each_item_in_turn() {
        let scenario = played(
            "      - for-each:
          router: all
          steps:
            - kill: $each
            - restart: $each
      - for-each: {link: r1-r2, steps: [{fail: {link: $each}}]}
      - for-each: {lan: [lab, campus], steps: [{expect: {quiet: $each}}]}
      - for-each: {router: r1, steps: [{fail: {link: campus.$each}}, {run: {node: $each, command: \"echo $each $eacho\"}}]}
",
        );
        assert_eq!(
            said(&scenario),
            [
                "20: [r1] kill r1",
                "21: [r1] restart r1",
                "20: [r2] kill r2",
                "21: [r2] restart r2",
                "22: [r1-r2] fail r1-r2",
                "23: [lab] expect lab quiet within 3s for 1s",
                "23: [campus] expect campus quiet within 3s for 1s",
                "24: [r1] fail campus.r1",
                "24: [r1] run `echo r1 $eacho` in r1",
            ]
        );
    }

    #[test]
    fn members_and_streams_count_from_item_to_item() {
        let scenario = played(
            "      - for-each:
          host: [h1, h2]
          steps:
            - stream: {name: to-$each, from: src, group: 239.1.1.1}
            - join: {hosts: $each, group: 239.1.1.1}
            - expect: {delivered: to-$each}
            - expect: {delivered: to-h1}
      - expect: {delivered: to-h2}
      - for-each: {host: all, steps: [{expect: {scope: 239.1.1.1, from: $each, ttls: 1}}]}
",
        );
        let audiences: Vec<(&str, usize)> = scenario
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Expect(Expectation::Delivered { stream, to, .. }) => Some((stream.as_str(), to.len())),
                _ => None,
            })
            .collect();
        assert_eq!(audiences, [("to-h1", 1), ("to-h1", 1), ("to-h2", 2), ("to-h1", 2), ("to-h2", 2)]);
        let names: Vec<&str> = scenario
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Expect(Expectation::Scope { stream, .. }) => Some(stream.name.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(names, ["scope-25", "scope-25-2", "scope-25-3"], "two streams of one name would be one");
    }

    #[test]
    fn what_it_unfolds_to_is_bounded() {
        let words = vec!["x"; 50_000].join(", ");
        let hosts: String = (0..20).map(|n| format!("  h{n}: {{kind: host}}\n")).collect();
        let text = format!(
            "name: big\nnodes:\n{hosts}lans:\n  lan: {{nodes: [h0]}}\nscenarios:\n  - name: big\n    steps:\n      \
             - for-each: {{host: all, steps: [{{run: {{node: $each, command: [{words}]}}}}]}}\n"
        );
        let faults = parse("big.yaml", &text).unwrap_err().to_string();
        assert!(faults.contains("the file unfolds to more than 500000 values here"), "{faults}");
    }
}
