//! What people see in a terminal, and what their shells and man(1) know of the verbs.

mod handbook;
mod scene;
mod tmux;
mod watch;
