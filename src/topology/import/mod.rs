//! Graphs of others as topologies: GML and GraphML, as the Internet Topology Zoo has them.
//!
//! A file becomes a graph as it stands there (`gml`, `graphml`), the graph a network that can be built
//! (`network`), and the network a commented topology file (`write`). Real files are messy: what cannot be kept is
//! said, and only what leaves nothing to be kept is an error.

mod fault;
mod gml;
mod graph;
mod graphml;
mod names;
mod network;
#[cfg(test)]
mod tests;
mod text;
mod write;

use std::path::Path;

use fault::Remarks;
pub use fault::{ImportError, ImportErrorKind, Remark, RemarkKind};

use super::load::{SIZE_LIMIT, read_bounded};

/// What an import makes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The lab's name; else it is made of the graph's.
    pub name: Option<String>,
    /// How routers forward multicast.
    pub multicast: Multicast,
    /// Which routers have a host.
    pub hosts: Hosts,
    /// Whether links have the delay of their length at 200,000 km/s.
    pub delays: bool,
    /// Whether links have the rate that the file gives.
    pub rates: bool,
    /// Whether nodes that the file marks as other networks' are left out.
    pub internal: bool,
}

/// How the routers of an import forward multicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Multicast {
    /// PIM dense mode.
    #[default]
    PimDm,
    /// Static routes, to be written by hand.
    Static,
    /// Not at all.
    None,
}

impl Multicast {
    fn forwards(self) -> bool {
        self != Multicast::None
    }

    /// As a topology file writes it.
    pub fn word(self) -> &'static str {
        match self {
            Multicast::PimDm => "pim-dm",
            Multicast::Static => "static",
            Multicast::None => "none",
        }
    }
}

/// Which routers of an import have a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Each.
    #[default]
    All,
    /// Those with one link.
    Leaves,
    /// None.
    None,
}

impl Hosts {
    /// As the command line has it.
    pub fn word(self) -> &'static str {
        match self {
            Hosts::All => "all",
            Hosts::Leaves => "leaves",
            Hosts::None => "none",
        }
    }
}

/// What came of a graph.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The topology file.
    pub text: String,
    /// What could not be kept as it was, in the order of its lines.
    pub remarks: Vec<Remark>,
    /// How many more remarks there were of kinds that came up often.
    pub more_remarks: usize,
}

/// Imports a file.
///
/// # Errors
/// The file can't be read, is neither GML nor GraphML, or nothing of it can be kept.
pub fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let error = |kind| ImportError { line: None, kind };
    let octets = read_bounded(path)
        .map_err(|why| error(ImportErrorKind::Unreadable { why: why.to_string() }))?
        .ok_or(error(ImportErrorKind::TooLarge { limit: SIZE_LIMIT }))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    import_octets(&name, &octets, options)
}

/// Imports what a file holds; `file` is the file's name, for the comments and for want of another name.
///
/// # Errors
/// It is neither GML nor GraphML, or nothing of it can be kept.
pub fn import_octets(file: &str, octets: &[u8], options: &Options) -> Result<Imported, ImportError> {
    if octets.len() as u64 > SIZE_LIMIT {
        return Err(ImportError { line: None, kind: ImportErrorKind::TooLarge { limit: SIZE_LIMIT } });
    }
    let mut remarks = Remarks::default();
    let (text, latin1) = text::decode(octets);
    if latin1 {
        remarks.whole(RemarkKind::Latin1);
    }
    let graph = match text.trim_start().starts_with('<') {
        true => graphml::parse(&text, &mut remarks)?,
        false => gml::parse(&text, &mut remarks)?,
    };
    let network = network::network(&graph, options, &mut remarks)?;
    let stream = write::plan_stream(&network, options, &mut remarks);
    let (remarks, more_remarks) = remarks.finish();
    let source = write::Source { file, graph: &graph, remarks: &remarks, more_remarks };
    let text = write::topology(&source, &network, stream.as_ref(), options);
    Ok(Imported { text, remarks, more_remarks })
}
