//! The runner's side of a running lab: faults and what mends them, daemons, commands, kernel entries, captures.

mod support;

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Scratch, finish};

const LIMIT: Duration = Duration::from_secs(100);

/// A source, two routers, a campus with two hosts; `scenarios` is the rest of the file.
fn topology(name: &str, scenarios: &str) -> String {
    format!(
        "name: {name}
defaults:
  router: {{multicast: static, igmp: {{last-member-query-interval: 500ms}}}}
nodes:
  src: {{kind: host}}
  r1: {{kind: router, routes: [{{group: 239.1.1.0/24, from: src, to: [r2]}}]}}
  r2: {{kind: router, routes: [{{group: 239.1.1.0/24, from: r1}}]}}
  h1: {{kind: host}}
  h2: {{kind: host}}
links:
  - {{name: first, between: [src, r1]}}
  - {{name: mid, between: [r1, r2]}}
lans:
  campus: {{nodes: [r2, h1, h2]}}
{scenarios}"
    )
}

const BEGIN: &str = "
      - join: {hosts: [h1, h2], group: 239.1.1.1}
      - stream: {name: news, from: src, group: 239.1.1.1}
      - expect: {delivered: news, within: 5s}";

fn test(name: &str, steps: &str) {
    let scratch = Scratch::new();
    let text = topology(name, &format!("scenarios:\n  - name: it\n    steps:{BEGIN}{steps}\n"));
    let file = scratch.write("topology.yaml", &text);
    scratch.run(["test".as_ref(), file.as_os_str()], LIMIT).expect_code(0);
}

#[test]
fn a_lost_carrier_stops_a_stream_until_it_is_restored() {
    test(
        "carrier",
        "
      - fail: {link: mid}
      - expect: {not-delivered: news, to: [h1, h2]}
      - restore: {link: mid}
      - expect: {delivered: news, within: 5s}
      - fail: {link: campus.h1}
      - expect: {not-delivered: news, to: h1}
      - restore: {link: campus.h1}
      - expect: {delivered: news, within: 5s}",
    );
}

#[test]
fn an_end_that_was_taken_down_comes_back_whole() {
    test(
        "admin",
        "
      - fail: {link: mid, how: admin, end: r2}
      - expect: {command: [ip, -o, link, show, up], node: r2, status: 0}
      - expect: {not-delivered: news, to: [h1, h2]}
      - restore: {link: mid}
      - expect: {delivered: news, within: 5s}",
    );
}

#[test]
fn a_silent_cut_stops_a_stream_and_is_noticed_by_the_route_agent_only_after_its_time() {
    test(
        "silent",
        "
      - fail: {link: mid, how: silent, detected-after: 1s}
      - run: {node: r1, command: [sh, -c, '! grep cut-noticed /run/testbed/lab/agent.log']}
      - expect: {not-delivered: news, to: [h1, h2]}
      - expect: {command: [grep, cut-noticed, /run/testbed/lab/agent.log], node: r1, status: 0, within: 5s}
      - restore: {link: mid}
      - expect: {delivered: news, within: 5s}
      - expect: {command: [grep, cut-mended, /run/testbed/lab/agent.log], node: r1, status: 0, within: 5s}
      - fail: {link: campus.h1, how: silent}
      - expect: {not-delivered: news, to: h1}
      - expect: {delivered: news, to: h2}
      - restore: {link: campus.h1}
      - expect: {delivered: news, within: 5s}",
    );
}

#[test]
fn single_messages_are_lost_and_a_drop_that_nothing_came_for_fails() {
    test(
        "drop",
        "
      - drop: {wire: campus, message: igmpv3-report, count: 9, from: h1}
      - drop: {wire: campus, message: igmp-group-query}
      - leave: {hosts: h1, group: 239.1.1.1}
      - leave: {hosts: h2, group: 239.1.1.1}
      - expect: {seen: igmp-group-query, on: campus, from: r2, within: 5s}
      - expect: {quiet: campus, group: 239.1.1.1, within: leave-latency}
      - restore: {link: campus}",
    );
    let scratch = Scratch::new();
    let steps = "
      - drop: {wire: mid, message: pim-graft, from: r2}
      - wait: 100ms";
    let text = topology("no-drop", &format!("scenarios:\n  - name: it\n    steps:{steps}\n"));
    let file = scratch.write("topology.yaml", &text);
    let output = scratch.run(["test".as_ref(), file.as_os_str()], LIMIT).expect_code(1);
    let said = "no pim-graft from r2 came that could have been dropped on its way into mid";
    assert!(output.stdout.contains(said), "{}", output.stdout);
}

#[test]
fn a_daemon_can_be_paused_killed_and_restarted() {
    test(
        "daemon",
        "
      - pause: r2
      - expect: {delivered: news, within: 5s}
      - resume: r2
      - kill: r2
      - expect: {not-delivered: news, to: [h1, h2]}
      - restart: r2
      - expect: {delivered: news, within: 5s}",
    );
}

#[test]
fn the_kernels_entries_are_those_of_proc() {
    // 239.1.1.1 as /proc shows it, in the byte order of the network on a little-endian machine.
    let group = format!("{:08X}", u32::from_ne_bytes([239, 1, 1, 1]));
    test(
        "entries",
        &format!(
            "
      - expect: {{entry: r1, source: src, group: 239.1.1.1}}
      - expect: {{command: [cat, /proc/net/ip_mr_cache], node: r1, status: 0, contains: '{group}'}}
      - expect: {{entry: r1, source: src, group: 239.1.1.2, present: false}}"
        ),
    );
}

#[test]
fn commands_give_their_status_and_what_they_said() {
    test(
        "commands",
        "
      - expect: {command: [sh, -c, 'echo hi; exit 3'], node: h1, status: 3, contains: hi}
      - expect: {command: [sh, -c, 'head -c 200000 /dev/zero; echo end >&2'], node: h1, status: 0, contains: end}
      - expect: {command: [sh, -c, 'kill -9 $$'], node: h1, status: 137}
      - expect: {command: [hostname], node: r2, status: 0, contains: r2}",
    );
}

/// The names of a capture's interfaces, and its number of frames.
fn read_capture(octets: &[u8]) -> (Vec<String>, usize) {
    let word = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().expect("four octets"));
    let (mut at, mut names, mut frames) = (0, Vec::new(), 0);
    while at < octets.len() {
        let length = word(at + 4) as usize;
        match word(at) {
            0x0a0d_0d0a => assert_eq!(word(at + 8), 0x1a2b_3c4d, "byte order"),
            1 => {
                // The name is the first option.
                assert_eq!(octets[at + 16..at + 18], [2, 0]);
                let size = usize::from(octets[at + 18]);
                names.push(String::from_utf8(octets[at + 20..at + 20 + size].to_vec()).expect("a name"));
            }
            6 => frames += 1,
            _ => {}
        }
        at += length;
    }
    assert_eq!(at, octets.len(), "the last block is whole");
    (names, frames)
}

#[test]
fn a_capture_runs_until_it_is_interrupted_and_is_whole_then() {
    let scratch = Scratch::new();
    let file = scratch.write("topology.yaml", &topology("capture", ""));
    scratch.run(["up".as_ref(), file.as_os_str()], LIMIT).expect_code(0);
    let output = scratch.path().join("capture.pcapng");
    let mut command = scratch.testbed(["capture", "campus", "mid", "-o", "capture.pcapng"]);
    let mut child = command.stdout(Stdio::null()).process_group(0).spawn().expect("testbed capture");
    // Its header says that it runs.
    let start = Instant::now();
    while std::fs::metadata(&output).map_or(0, |file| file.len()) == 0 {
        assert!(start.elapsed() < LIMIT, "the capture does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    let send = "for i in 1 2 3; do echo hello > /dev/udp/10.0.1.2/9; done";
    scratch.run(["exec", "src", "--", "bash", "-c", send], LIMIT).expect_code(0);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("interrupt");
    assert_eq!(child.wait().expect("wait").code(), Some(0));
    let (names, frames) = read_capture(&std::fs::read(&output).expect("the capture"));
    assert_eq!(names, ["r2.eth1", "h1.eth0", "h2.eth0", "r1.eth1", "r2.eth0"]);
    // Three datagrams at two ends of the link and two ports of the LAN.
    assert!(frames >= 12, "{frames} frames");

    let mut command = scratch.testbed(["capture", "mid", "--duration", "200ms", "--group", "239.1.1.1"]);
    command.stdin(Stdio::null());
    finish(command, LIMIT).expect_code(0).expect_said("frames captured");
    scratch.run(["capture", "nowhere"], LIMIT).expect_code(2).expect_said("there is no link or LAN nowhere");
    scratch.run(["capture", "mid", "--group", "10.0.0.1"], LIMIT).expect_code(2).expect_said("no multicast group");
    scratch.run(["down"], LIMIT).expect_code(0);
}
