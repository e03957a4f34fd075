//! Any octets as a graph in GML or GraphML: an error, or a topology that loads, whatever is asked for (the last octet says what).

#![no_main]

use libfuzzer_sys::fuzz_target;
use testbed::topology;
use testbed::topology::import::{Hosts, Multicast, Options, import_octets};

fuzz_target!(|octets: &[u8]| {
    let Some((choice, octets)) = octets.split_last() else { return };
    let options = Options {
        name: None,
        multicast: [Multicast::PimDm, Multicast::Static, Multicast::None, Multicast::PimDm][usize::from(choice & 3)],
        hosts: [Hosts::All, Hosts::Leaves, Hosts::None, Hosts::All][usize::from(choice >> 2 & 3)],
        delays: choice & 16 != 0,
        rates: choice & 32 != 0,
        internal: choice & 64 != 0,
    };
    match import_octets("fuzz.gml", octets, &options) {
        Ok(imported) => {
            if let Err(faults) = topology::parse("fuzz.yaml", &imported.text) {
                panic!("{}\n{}", faults.plain(), imported.text);
            }
        }
        Err(error) => assert!(!error.kind.to_string().is_empty()),
    }
});
