//! Which trees something that happens concerns, so that none of it looks at all of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::entry::Tree;
use crate::router::InterfaceId;

/// A router on the link of an interface.
type Router = (InterfaceId, IpAddr);

/// The least address there is.
const FIRST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// The indexes.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// By where the tree's root is: the source, or the rendezvous point.
    roots: BTreeSet<(IpAddr, Tree)>,
    /// Sources on links of this router, by their rendezvous point: registers go there.
    registered: BTreeSet<(IpAddr, Tree)>,
    /// By the next hop toward it.
    hops: BTreeSet<(Router, Tree)>,
    /// By RPF', where it is not the next hop itself.
    upstreams: BTreeSet<(Router, Tree)>,
    /// By who won an assert there that this router has lost.
    winners: BTreeSet<(Router, Tree)>,
}

fn change<K: Ord + Copy>(set: &mut BTreeSet<(K, Tree)>, tree: Tree, before: Option<K>, after: Option<K>) {
    if let Some(before) = before.filter(|_| before != after) {
        set.remove(&(before, tree));
    }
    if let Some(after) = after {
        set.insert((after, tree));
    }
}

fn of(set: &BTreeSet<(Router, Tree)>, router: Router) -> impl Iterator<Item = Tree> + '_ {
    let from = (router, Tree { group: FIRST, source: None });
    set.range(from..).take_while(move |(of, _)| *of == router).map(|(_, tree)| *tree)
}

impl Index {
    /// The root of a tree is another.
    pub fn change_root(&mut self, tree: Tree, before: Option<IpAddr>, after: Option<IpAddr>) {
        change(&mut self.roots, tree, before, after);
    }

    /// The rendezvous point that a source is to be registered with is another.
    pub fn change_registered(&mut self, tree: Tree, before: Option<IpAddr>, after: Option<IpAddr>) {
        change(&mut self.registered, tree, before, after);
    }

    /// The next hop of a tree is another.
    pub fn change_hop(&mut self, tree: Tree, before: Option<Router>, after: Option<Router>) {
        change(&mut self.hops, tree, before, after);
    }

    /// RPF' of a tree is another, or its next hop is.
    pub fn change_upstream(&mut self, tree: Tree, before: Option<Router>, after: Option<Router>, hop: Option<Router>) {
        change(&mut self.upstreams, tree, before, after.filter(|after| Some(*after) != hop));
        if let Some(after) = after.filter(|after| Some(*after) == hop) {
            self.upstreams.remove(&(after, tree));
        }
    }

    /// The winner of an assert of a tree on an interface is another.
    pub fn change_winner(&mut self, tree: Tree, i: InterfaceId, before: Option<IpAddr>, after: Option<IpAddr>) {
        let on = |winner: Option<IpAddr>| winner.map(|winner| (i, winner));
        change(&mut self.winners, tree, on(before), on(after));
    }

    /// Trees whose root is within a prefix, and sources whose registers go there.
    pub fn rooted_in(&self, prefix: IpNet) -> Vec<Tree> {
        let from = (prefix.network(), Tree { group: FIRST, source: None });
        let within = [&self.roots, &self.registered]
            .into_iter()
            .flat_map(|roots| roots.range(from..).take_while(|(root, _)| prefix.contains(root)).map(|(_, tree)| *tree));
        within.collect()
    }

    /// Trees whose next hop is an address.
    pub fn by_hop(&self, i: InterfaceId, address: IpAddr) -> Vec<Tree> {
        of(&self.hops, (i, address)).collect()
    }

    /// Trees whose RPF' is a router that is not their next hop by its address.
    pub fn by_upstream(&self, i: InterfaceId, neighbour: IpAddr) -> Vec<Tree> {
        of(&self.upstreams, (i, neighbour)).collect()
    }

    /// Trees whose assert a router has won.
    pub fn by_winner(&self, i: InterfaceId, winner: IpAddr) -> Vec<Tree> {
        of(&self.winners, (i, winner)).collect()
    }

    /// Whether nothing is indexed.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
            && self.registered.is_empty()
            && self.hops.is_empty()
            && self.upstreams.is_empty()
            && self.winners.is_empty()
    }
}
