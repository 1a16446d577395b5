pub mod storage;
pub mod config;
pub mod supervisor;
