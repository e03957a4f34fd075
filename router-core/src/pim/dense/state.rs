//! Which entries there are: how they come and go (RFC 3973 §4.1).

use super::entry::{Entry, InterfaceEntry, Timer};
use super::{Action, Context, Dense, macros};
use crate::counters::DropReason;
use crate::forwarding::EntryKey;
use crate::membership::Family;
use crate::pim::mrib::{self, Rpf};
use crate::router::InterfaceId;

impl Dense {
    /// Makes sure that there is state for a source and group.
    ///
    /// # Errors
    ///
    /// Why there is none: no route to the source, no source or no group that is forwarded, or the limit, which is counted here.
    pub(super) fn ensure(&mut self, context: &mut Context<'_>, key: EntryKey) -> Result<(), DropReason> {
        if self.entries.contains_key(&key) {
            return Ok(());
        }
        let family = Family::of(key.group);
        if !family.is_group(key.group) {
            return Err(DropReason::NotAGroup);
        }
        if family.is_link_local(key.group) {
            return Err(DropReason::LinkLocalGroup);
        }
        if !family.is_source(key.source) {
            return Err(DropReason::NotASource);
        }
        let rpf = mrib::lookup(context.rib, context.ports, key.source).ok_or(DropReason::NoRoute)?;
        self.create(context, key, Some(rpf))
    }

    /// Makes state of a source and group that have none, with the way to the source, if there is one.
    ///
    /// # Errors
    ///
    /// [`DropReason::EntryLimit`], which is counted here.
    pub(super) fn create(
        &mut self,
        context: &mut Context<'_>,
        key: EntryKey,
        rpf: Option<Rpf>,
    ) -> Result<(), DropReason> {
        if self.entries.len() >= self.limit {
            self.actions.push(Action::Drop(None, DropReason::EntryLimit));
            return Err(DropReason::EntryLimit);
        }
        let mut entry = Entry { rpf, was_routed: rpf.is_some(), ..Entry::default() };
        entry.rpf_neighbour = rpf.and_then(|rpf| rpf.next_hop);
        entry.directly_connected = rpf.is_some_and(|rpf| rpf.next_hop.is_none());
        entry.olist_is_null = macros::olist(context.ports, &entry, key).is_empty();
        self.entries.insert(key, entry);
        self.by_group.entry(key.group).or_default().insert(key.source);
        self.use_again(context, key);
        Ok(())
    }

    /// Nothing has used an entry for its lifetime. It goes, unless a timer of it still runs or a prune holds for ever (§4.1: state is kept as
    /// long as any of its timers is active).
    pub(super) fn idle(&mut self, context: &Context<'_>, key: EntryKey) {
        let Some(entry) = self.entries.get(&key) else { return };
        let neighbours = macros::pim_nbrs(context.ports);
        // Where nobody is left, a prune speaks for nobody: whoever comes next ends it.
        let mut for_ever = entry.interfaces.iter().filter(|(_, state)| state.is_pruned_for_ever());
        let for_ever = for_ever.any(|(interface, _)| neighbours.contains(interface));
        let interfaces = entry.interfaces.keys().flat_map(|interface| Timer::of_interface(key, *interface));
        let timers = Timer::of_entry(key).into_iter().chain(interfaces);
        let last = timers.filter_map(|(_, timer)| self.timers.deadline(timer)).max();
        if let Some(last) = last {
            self.timers.set(Timer::Idle(key), last);
        } else if for_ever {
            self.use_again(context, key);
        } else {
            self.forget(key);
        }
    }

    pub(super) fn forget(&mut self, key: EntryKey) {
        let Some(entry) = self.entries.remove(&key) else { return };
        if let Some(sources) = self.by_group.get_mut(&key.group) {
            sources.remove(&key.source);
            if sources.is_empty() {
                self.by_group.remove(&key.group);
            }
        }
        for (_, timer) in Timer::of_entry(key) {
            self.timers.cancel(timer);
        }
        for interface in entry.interfaces.keys() {
            for (_, timer) in Timer::of_interface(key, *interface) {
                self.timers.cancel(timer);
            }
        }
        self.timers.cancel(Timer::Idle(key));
        self.timers.cancel(Timer::Swallow(key));
        if entry.installed.is_some() {
            self.actions.push(Action::Remove(key));
        }
    }

    pub(super) fn use_again(&mut self, context: &Context<'_>, key: EntryKey) {
        self.timers.set(Timer::Idle(key), context.now + self.settings.entry_lifetime());
    }

    /// Forgets an interface's state that says nothing.
    pub(super) fn tidy(entry: &mut Entry, interface: InterfaceId) {
        if entry.interfaces.get(&interface).is_some_and(InterfaceEntry::is_idle) {
            entry.interfaces.remove(&interface);
        }
    }
}
