//! Those who are told what happens: whether a message arrives.

use std::time::Duration;

use anyhow::bail;
use serde_json::json;

use super::verbs::NotifyOrder;
use super::{client, print};
use crate::admin::api::NotificationTests;

/// How long all targets together may take: each has a limit of its own, of five minutes at most.
const TEST_MAX: Duration = Duration::from_mins(6);

pub(super) async fn notify(order: NotifyOrder) -> anyhow::Result<()> {
    let NotifyOrder::Test { name, look } = order;
    let client = client(&look.place)?;
    let body = json!({ "name": name }).to_string();
    let text = client.post("/api/v1/notify/test", body, TEST_MAX).await?;
    let tests: NotificationTests = client.parsed(&text)?;
    if look.json {
        print::line(&text)?;
    }
    for test in tests.targets.iter().filter(|_| !look.json) {
        print::line(&match &test.trouble {
            None => format!("{}: a test message was sent", test.name),
            Some(trouble) => format!("{}: {trouble}", test.name),
        })?;
    }
    let failed = tests.targets.iter().filter(|test| test.trouble.is_some()).count();
    if failed > 0 {
        bail!("{failed} of {} were not reached", tests.targets.len());
    }
    Ok(())
}
