//! `testbed`: builds virtual multicast networks, feeds them real streams and judges what was delivered.

pub mod agree;
pub mod bench;
pub mod commands;
pub mod compare;
pub mod daemon;
pub mod explore;
pub mod lab;
pub mod network;
pub mod observe;
pub mod oracle;
pub mod report;
pub mod routes;
pub mod scenario;
pub mod sys;
pub mod topology;
pub mod traffic;
