//! What is wrong with a file is said, all of it, at its place, with what would be right.
//!
//! Each case is a file of `tests/bad_input/` and a snapshot; `cargo insta test --accept` rewrites the snapshots.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use testbed::topology;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_input")
}

/// What is said of a file, which must be wrong.
fn said(name: &str) -> String {
    let text = std::fs::read(folder().join(name)).unwrap();
    said_of(name, text)
}

fn said_of(name: &str, text: Vec<u8>) -> String {
    match topology::parse_octets(name, text) {
        Ok(plan) => panic!("{name} counts as good: {plan:?}"),
        Err(faults) => faults.render(false),
    }
}

macro_rules! cases {
    ($($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let name = format!("{}.yaml", stringify!($case).replace('_', "-"));
                insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
                    insta::assert_snapshot!(stringify!($case), said(&name));
                });
            }
        )*

        #[test]
        fn every_file_has_a_case() {
            let cases = [$( stringify!($case) ),*];
            for entry in std::fs::read_dir(folder()).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap().replace('-', "_");
                assert!(cases.contains(&name.as_str()), "no test reads {}", path.display());
            }
        }
    };
}

cases! {
    addresses
    ambiguous
    duplicate_key
    duplicate_names
    duplicate_node
    everything_at_once
    generate_hosts
    generate_kind
    generate_shape
    generate_two_shapes
    generate_values
    group
    host_name
    igmp_values
    interface_name
    linked_to_itself
    membership
    missing
    not_a_mapping
    not_supported
    not_yaml
    only_comments
    ospf
    overlap
    pim_values
    random
    rate_of_zero
    repeated
    roles
    subnet_full
    tag
    threshold_on_ipv6
    ttl
    two_documents
    two_nodes_one_address
    two_routers_no_gateway
    unknown_host
    unknown_key
    unknown_node
    wrong_place
    wrong_type
}

#[test]
fn a_router_with_33_multicast_interfaces() {
    let hosts: String = (1..=33).map(|n| format!("  h{n}: {{kind: host}}\n")).collect();
    let links: String = (1..=33).map(|n| format!("  - {{between: [hub, h{n}]}}\n")).collect();
    let text = |hub: &str| format!("name: hub\nnodes:\n  hub: {{kind: router{hub}}}\n{hosts}links:\n{links}");
    insta::assert_snapshot!(said_of("hub.yaml", text("").into()), @"
    hub.yaml:3:3: `hub` has 33 multicast interfaces; the kernel's table has room for 32
         3 |   hub: {kind: router}
           |   ^^^
      help: split the router, or set `multicast: none` on it
    ");
    assert!(topology::parse("hub.yaml", &text(", multicast: none")).is_ok());
}

fn said_of_shape(shape: &str) -> String {
    said_of("shape.yaml", format!("name: shape\ngenerate: {{{shape}}}\n").into())
}

#[test]
fn shapes_that_are_too_large_or_none() {
    let said: Vec<String> = [
        "star: 40",
        "grid: [161, 100]",
        "grid: [90, 100], hosts: all",
        "grid: [2, 9], torus: true",
        "grid: [1, 2, 3]",
        "fat-tree: 7",
        "fat-tree: 88",
        "tree: {depth: 12, fan-out: 3}",
        "random: {nodes: 1000, alpha: 1, beta: 1}",
        "ring: 5, hosts: edge",
        "hosts: all",
        "",
    ]
    .map(said_of_shape)
    .into();
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("generate_sizes", said.join("\n"));
    });
    assert!(
        topology::parse("x.yaml", "name: x\ngenerate: {star: 40}\ndefaults: {router: {multicast: none}}\n").is_ok()
    );
}

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(said_of("empty.yaml", Vec::new()), @"
    empty.yaml: the file is empty
      help: a file needs at least `name`, and `nodes` or `generate`
    ");
}

#[test]
fn a_file_that_is_not_utf_8() {
    let text = b"name: caf\xe9\nnodes: {}\n".to_vec();
    insta::assert_snapshot!(said_of("latin1.yaml", text), @"latin1.yaml: the file is not UTF-8: octet 9 (counted from 0) can't be read");
}

#[test]
fn an_alias_bomb() {
    let mut text = String::from("name: bomb\nl0: &l0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let items = vec![format!("*l{}", level - 1); 10].join(", ");
        text += &format!("l{level}: &l{level} [{items}]\n");
    }
    let start = Instant::now();
    insta::assert_snapshot!(said_of("bomb.yaml", text.into()), @"
    bomb.yaml:7:25: the file unfolds to more than 500000 values here, aliases followed
         7 | l5: &l5 [*l4, *l4, *l4, *l4, *l4, *l4, *l4, *l4, *l4, *l4]
           |                         ^^^
    ");
    assert!(start.elapsed() < Duration::from_secs(5), "an alias bomb took {:?}", start.elapsed());
}

fn validate(files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_testbed")).arg("validate").args(files).output().unwrap()
}

#[test]
fn a_file_of_100_megabytes_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.yaml");
    std::fs::File::create(&path).unwrap().set_len(100 * 1024 * 1024).unwrap();
    let output = validate(&[&path]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, format!("{}: the file is larger than 8 MiB, the most that is read\n", path.display()));
}

#[test]
fn a_pipe_without_end_is_refused_too() {
    let output = validate(&[Path::new("/dev/zero")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("larger than 8 MiB"));
}

#[test]
fn a_file_that_is_not_there_or_is_a_folder() {
    let output = validate(&[Path::new("/nonexistent.yaml"), &folder()]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/nonexistent.yaml: can't read the file: No such file or directory"), "{said}");
    assert!(said.contains("bad_input: can't read the file: Is a directory"), "{said}");
}

#[test]
fn good_files_are_counted_beside_bad_ones() {
    let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/first-light.yaml");
    let output = validate(&[&good, &folder().join("unknown-key.yaml")]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("{}: first-light: 2 routers, 4 hosts, 2 links, 1 LAN, 3 scenarios\n", good.display()));
    assert_eq!(validate(&[&good]).status.code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .arg("schema")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_terminal_sees_every_fault_too() {
    let text = std::fs::read(folder().join("everything-at-once.yaml")).unwrap();
    let faults = topology::parse_octets("everything-at-once.yaml", text).unwrap_err();
    let shown = faults.render(true);
    for fault in &faults.list {
        let word = fault.kind.to_string();
        let word: Vec<&str> = word.split_whitespace().take(2).collect();
        assert!(shown.contains(word[0]), "{} is not shown", fault.kind);
    }
    std::io::sink().write_all(shown.as_bytes()).unwrap();
}
