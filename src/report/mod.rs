//! Verdicts as terminal tables, JSON, JUnit.
