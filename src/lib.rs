//! Standin (map to be drawn)
pub mod policy;
