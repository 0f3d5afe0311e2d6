//! Weir: canary rollouts for services that do not run on Kubernetes.

pub mod analysis;
