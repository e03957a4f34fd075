//! Unicast routes of a whole lab, by scenarios: what a router's kernel answers is what counts.

mod support;

use std::time::Duration;

use support::Scratch;

/// Two ways from r1 to r4: by r2 for 20, by r3 for 30.
const DIAMOND: &str = "
name: diamond
nodes:
  src: {kind: host}
  dst: {kind: host}
  r1: {kind: router}
  r2: {kind: router}
  r3: {kind: router}
  r4: {kind: router}
links:
  - {between: [src, r1]}
  - {name: upper, between: [r1, r2], cost: 10}
  - {name: fast, between: [r2, r4], cost: 10}
  - {name: lower, between: [r1, r3], cost: 10}
  - {name: slow, between: [r3, r4], cost: 20}
  - {between: [r4, dst]}
scenarios:
";

/// A scenario that watches which interface r1 uses toward dst, in both families, around a fault.
fn watch(name: &str, fault: &str, mend: &str) -> String {
    let by = |interface: &str| {
        let script = format!(
            "set -e; for f in 4 6; do to=$(getent ahostsv$f dst | head -n1 | cut -d\" \" -f1); \
             ip -o -$f route get $to | grep -q \"dev {interface} \"; done"
        );
        format!("      - expect: {{command: '{script}', node: r1, within: 20s}}\n")
    };
    format!("  - name: {name}\n    steps:\n{}      - {fault}\n{}      - {mend}\n{}", by("eth1"), by("eth2"), by("eth1"))
}

#[test]
fn routes_go_round_every_kind_of_fault_and_come_back() {
    let scratch = Scratch::new();
    let mut text = DIAMOND.to_owned();
    text += &watch("carrier", "fail: {link: fast}", "restore: {link: fast}");
    text += &watch("admin", "fail: {link: fast, how: admin, end: r2}", "restore: {link: fast}");
    text += &watch("silent", "fail: {link: fast, how: silent, detected-after: 100ms}", "restore: {link: fast}");
    let file = scratch.write("diamond.yaml", &text);
    let done = scratch.run(["test".as_ref(), file.as_os_str()], Duration::from_secs(120));
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}
