//! The agent as a library: configuration, control socket, views of what was recorded, and the processes of the
//! daemon. The binary is a line.

pub mod cli;
mod clock;
pub mod config;
pub mod control;
pub mod core_process;
pub mod doctor;
mod kernel_process;
mod link;
mod privileges;
pub mod run;
pub mod sessions_view;
pub mod terminal;
pub mod timeline;
pub mod words;
