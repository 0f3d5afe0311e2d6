//! What their shells and man(1) know of the verbs.

mod handbook;
