//! What there is: how state comes and goes (RFC 7761 §4.1).

use std::net::IpAddr;

use super::entry::{Source, Star, Timer, Tree};
use super::{Action, Context, Sparse, assert, downstream, downstream_rpt, macros, upstream_rpt};
use crate::counters::DropReason;
use crate::forwarding::EntryKey;
use crate::membership::Family;
use crate::pim::mrib;
use crate::router::SourceFilter;

impl Sparse {
    /// Whether there may be state of a group.
    pub(super) fn is_group(group: IpAddr) -> Result<(), DropReason> {
        let family = Family::of(group);
        if !family.is_group(group) {
            return Err(DropReason::NotAGroup);
        }
        if family.is_link_local(group) {
            return Err(DropReason::LinkLocalGroup);
        }
        Ok(())
    }

    fn has_room(&mut self) -> Result<(), DropReason> {
        if self.len() < self.limit {
            return Ok(());
        }
        self.actions.push(Action::Drop(None, DropReason::EntryLimit));
        Err(DropReason::EntryLimit)
    }

    /// Makes sure that there is state of (*,G).
    ///
    /// # Errors
    ///
    /// Why there is none: no group that is forwarded, or the limit, which is counted here.
    pub(super) fn ensure_star(&mut self, context: &Context<'_>, group: IpAddr) -> Result<(), DropReason> {
        if self.stars.contains_key(&group) {
            return Ok(());
        }
        Self::is_group(group)?;
        self.has_room()?;
        let rp = context.rp(group);
        let rpf = rp.and_then(|rp| context.toward_rp(rp));
        let star = Star { rp, rpf, ..Star::default() };
        self.index.change_root(Tree::all(group), None, rp);
        self.index.change_hop(Tree::all(group), None, Self::hop(rpf));
        self.stars.insert(group, Box::new(star));
        Ok(())
    }

    /// Makes sure that there is state of (S,G).
    ///
    /// # Errors
    ///
    /// Why there is none: no source or no group that is forwarded, or the limit, which is counted here.
    pub(super) fn ensure(&mut self, context: &Context<'_>, key: EntryKey) -> Result<(), DropReason> {
        if self.sources.contains_key(&(key.group, key.source)) {
            return Ok(());
        }
        Self::is_group(key.group)?;
        if !Family::of(key.group).is_source(key.source) {
            return Err(DropReason::NotASource);
        }
        self.has_room()?;
        let rpf = mrib::lookup(context.rib, context.ports, key.source);
        // Of a source without state, (S,G,rpt) is what (*,G) makes it (§4.5.7).
        let v = self.view(context, Tree::all(key.group));
        let joined = macros::rpt_join_desired(&v) && !macros::inherited_olist_rpt_is_null(&v);
        let rpt = if joined { upstream_rpt::State::NotPruned } else { upstream_rpt::State::NotJoined };
        let entry = Source { rpf, rpt, rpt_by_all: true, ..Source::default() };
        self.index.change_root(key.into(), None, Some(key.source));
        self.index.change_hop(key.into(), None, Self::hop(rpf));
        self.sources.insert((key.group, key.source), Box::new(entry));
        Ok(())
    }

    /// Forgets what says nothing of (*,G).
    pub(super) fn tidy_star(&mut self, context: &Context<'_>, group: IpAddr) {
        let Some(star) = self.star(group) else { return };
        star.interfaces
            .retain(|state| state.downstream != downstream::State::NoInfo || state.assert != assert::State::NoInfo);
        if !star.is_idle() {
            return;
        }
        let wants_all = |filter: &SourceFilter| matches!(filter, SourceFilter::Exclude(_));
        if context.ports.values().any(|port| port.filter(group).is_some_and(wants_all)) {
            return;
        }
        let (rp, rpf, router) = (star.rp, star.rpf, star.upstream.router());
        self.index.change_upstream(Tree::all(group), router, None, None);
        self.index.change_root(Tree::all(group), rp, None);
        self.index.change_hop(Tree::all(group), Self::hop(rpf), None);
        self.timers.cancel(Timer::Join(Tree::all(group)));
        self.stars.remove(&group);
    }

    /// Forgets what says nothing of (S,G).
    pub(super) fn tidy_source(&mut self, context: &Context<'_>, key: EntryKey) {
        let overrides = self.timers.is_running(Timer::Override(key));
        let Some(entry) = self.source(key) else { return };
        entry.interfaces.retain(|state| {
            state.downstream != downstream::State::NoInfo
                || state.rpt != downstream_rpt::State::NoInfo
                || state.assert != assert::State::NoInfo
        });
        if !entry.is_idle() || entry.installed.is_some() || overrides {
            return;
        }
        let (rpf, router) = (entry.rpf, entry.upstream.router());
        let ssm = context.is_ssm(key.group);
        let named = context.ports.values().any(|port| match port.filter(key.group) {
            Some(SourceFilter::Exclude(_)) if ssm => macros::ssm_sources(port, key.group).contains(&key.source),
            Some(SourceFilter::Include(sources) | SourceFilter::Exclude(sources)) => sources.contains(&key.source),
            None => false,
        });
        if named {
            return;
        }
        self.index.change_upstream(key.into(), router, None, None);
        self.index.change_root(key.into(), Some(key.source), None);
        self.index.change_hop(key.into(), Self::hop(rpf), None);
        for (_, timer) in Timer::of_tree(key.into()) {
            self.timers.cancel(timer);
        }
        self.sources.remove(&(key.group, key.source));
    }

    /// KAT(S,G) to a period, unless it runs longer.
    pub(super) fn set_keepalive(&mut self, context: &Context<'_>, key: EntryKey, period: std::time::Duration) {
        let Some(entry) = self.source(key) else { return };
        entry.keepalive = true;
        self.timers.set(Timer::Keepalive(key), context.now + period);
    }
}
