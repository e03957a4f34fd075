//! Static multicast routes: which one holds for a source and a group.

use crate::config::StaticRoute;
use crate::forwarding::EntryKey;

/// The route that holds for packets of a key: the one with the longest source prefix, then the longest group prefix, then
/// the first in the file. A route without a source matches every source, less closely than any prefix.
pub fn best(routes: &[StaticRoute], key: EntryKey) -> Option<&StaticRoute> {
    let closeness = |route: &StaticRoute| (route.source.map(|source| source.prefix_len()), route.group.prefix_len());
    routes
        .iter()
        .filter(|route| {
            route.group.contains(&key.group) && route.source.is_none_or(|source| source.contains(&key.source))
        })
        // `max_by_key` gives the last of equals.
        .rev()
        .max_by_key(|route| closeness(route))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(group: &str, source: Option<&str>, incoming: &str) -> StaticRoute {
        StaticRoute {
            group: group.parse().unwrap(),
            source: source.map(|source| source.parse().unwrap()),
            incoming: incoming.into(),
            outgoing: Vec::new(),
        }
    }

    #[test]
    fn the_longest_source_then_the_longest_group_wins() {
        let routes = [
            route("239.0.0.0/8", None, "any"),
            route("239.1.0.0/16", None, "group"),
            route("239.0.0.0/8", Some("10.0.0.0/8"), "net"),
            route("224.0.0.0/4", Some("10.1.1.1/32"), "host"),
            route("239.1.0.0/16", None, "second"),
        ];
        let best = |source: &str, group: &str| {
            let key = EntryKey { source: source.parse().unwrap(), group: group.parse().unwrap() };
            best(&routes, key).map(|route| route.incoming.clone())
        };
        assert_eq!(best("192.0.2.1", "239.2.0.1").as_deref(), Some("any"));
        assert_eq!(best("192.0.2.1", "239.1.0.1").as_deref(), Some("group"));
        assert_eq!(best("10.2.0.1", "239.1.0.1").as_deref(), Some("net"));
        assert_eq!(best("10.1.1.1", "239.1.0.1").as_deref(), Some("host"));
        assert_eq!(best("192.0.2.1", "233.0.0.1"), None);
        assert_eq!(best("2001:db8::1", "ff0e::1"), None);
    }
}
