//! Pages of metrics of each place where a version runs, or of one that tells of all versions.

use std::collections::BTreeMap;

use super::growth::{Growth, Reset};
use super::page::Question;
use super::prometheus_text::Selector;
use super::statsd::is_same;
use super::{Asker, Endpoint, Figure, VERSION};
use crate::analysis::Tally;
use crate::metrics::Wanted;
use crate::traffic::Version;

/// What a page says: of counters all and the bad ones, or a number.
type Told = Figure<f64>;

/// Counters by page; those of a version that is wanted no more are forgotten.
type Counters = BTreeMap<(Version, String), [Growth; 2]>;

/// Asks for ever.
pub(super) async fn ask(
    asker: Asker,
    url: String,
    version_label: Option<String>,
    figure: Figure<Selector>,
) {
    let mut ticks = asker.ticks();
    let mut counters = Counters::new();
    loop {
        ticks.tick().await;
        let wanted = asker.ledger().wanted(&asker.signal.tier, &asker.signal.name);
        let pages: Vec<(Version, String)> =
            wanted.iter().flat_map(|wanted| pages(&url, wanted)).collect();
        // A place that runs another version now begins anew.
        counters.retain(|page, _| pages.contains(page));
        for Wanted { version, .. } in &wanted {
            let own = pages.iter().filter(|(of, _)| of == version);
            let label = version_label.as_deref().map(|label| (label, version));
            let mut told = Vec::new();
            let mut trouble = None;
            for (_, page) in own {
                match read(&asker, page, label, &figure).await {
                    Ok(figures) => told.push((page, figures)),
                    Err(why) => trouble = Some(why),
                }
            }
            // What one place does not tell is no count of the version: the others wait for it.
            let outcome = trouble.map_or_else(|| gather(told, &figure), Err);
            match outcome {
                Ok(told) => hear(&asker, version, &told, &mut counters),
                Err(why) => asker.trouble(version, &why),
            }
        }
    }
}

/// The addresses of the pages that tell of a version.
fn pages(url: &str, wanted: &Wanted) -> Vec<(Version, String)> {
    let url = url.replace(VERSION, wanted.version.as_str());
    if !url.contains("{address}") && !url.contains("{host}") {
        return vec![(wanted.version.clone(), url)];
    }
    let page = |place: &String| {
        let port = place.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        let host = port.map_or(place.as_str(), |(host, _)| host);
        (wanted.version.clone(), url.replace("{address}", place).replace("{host}", host))
    };
    wanted.places.iter().map(page).collect()
}

/// What the page at `url` says; a figure that it does not have is none.
async fn read(
    asker: &Asker,
    url: &str,
    label: Option<(&str, &Version)>,
    figure: &Figure<Selector>,
) -> Result<Figure<Option<f64>>, String> {
    let endpoint: Endpoint = url.parse().map_err(|why| format!("{url}: {why}"))?;
    let question = Question { endpoint: &endpoint, path: "", form: None, token: None };
    let page = asker.client.ask(question).await.map_err(|error| error.to_string())?;
    let fits = |value: &dyn Fn(&str) -> String| {
        label.is_none_or(|(label, version)| is_same(&value(label), version.as_str()))
    };
    Ok(match figure {
        Figure::Number(selector) => Figure::Number(selector.sum(&page, fits)),
        Figure::Counts { total, bad } => {
            Figure::Counts { total: total.sum(&page, fits), bad: bad.sum(&page, fits) }
        }
    })
}

/// A counter that has counted nothing may not be on a page; but one that no page has is a name that
/// nobody knows.
fn gather<'a>(
    told: Vec<(&'a String, Figure<Option<f64>>)>,
    figure: &Figure<Selector>,
) -> Result<Vec<(&'a String, Told)>, String> {
    if told.is_empty() {
        return Err("nothing is known of where it runs".to_owned());
    }
    let is_known = |figure: &Figure<Option<f64>>| match figure {
        Figure::Counts { total: known, .. } | Figure::Number(known) => known.is_some(),
    };
    if !told.iter().any(|(_, figure)| is_known(figure)) {
        let (Figure::Counts { total: name, .. } | Figure::Number(name)) = figure;
        let page = told[0].0;
        return Err(format!("{page} has no {name}"));
    }
    let filled = told.into_iter().filter_map(|(page, figure)| match figure {
        Figure::Number(value) => Some((page, Figure::Number(value?))),
        Figure::Counts { total, bad } => {
            let (total, bad) = (total.unwrap_or(0.0), bad.unwrap_or(0.0));
            Some((page, Figure::Counts { total, bad }))
        }
    });
    Ok(filled.collect())
}

fn hear(asker: &Asker, version: &Version, told: &[(&String, Told)], counters: &mut Counters) {
    let (ledger, tier, name) = (asker.ledger(), &asker.signal.tier, &asker.signal.name);
    let (mut tally, mut number) = (Tally::default(), None);
    for (page, figure) in told {
        match figure {
            Figure::Number(value) => *number.get_or_insert(0.0) += value,
            Figure::Counts { total, bad } => {
                let growth = counters.entry((version.clone(), (*page).clone())).or_default();
                tally.total += growth[0].until(*total, Reset::FromZero);
                tally.bad += growth[1].until(*bad, Reset::FromZero);
            }
        }
    }
    match number {
        Some(sum) => ledger.number(tier, name, version, sum / told.len() as f64),
        None => ledger.count(tier, name, version, tally),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(places: &[&str]) -> Wanted {
        let places = places.iter().map(|place| (*place).to_owned()).collect();
        Wanted { version: "4.2".parse().unwrap(), places }
    }

    fn urls(url: &str, places: &[&str]) -> Vec<String> {
        pages(url, &wanted(places)).into_iter().map(|(_, url)| url).collect()
    }

    #[test]
    fn each_place_has_a_page_unless_one_tells_of_all() {
        let places = ["10.0.0.1:9101", "[::1]:9102", "work-1"];
        assert_eq!(
            urls("http://{host}:9394/metrics", &places),
            [
                "http://10.0.0.1:9394/metrics",
                "http://[::1]:9394/metrics",
                "http://work-1:9394/metrics"
            ]
        );
        assert_eq!(
            urls("http://{address}/metrics", &places[..1]),
            ["http://10.0.0.1:9101/metrics"]
        );
        assert_eq!(urls("http://all/{version}", &places), ["http://all/4.2"]);
    }

    #[test]
    fn a_counter_that_one_page_has_is_zero_on_the_others_and_one_that_none_has_is_trouble() {
        let (a, b) = ("http://a".to_owned(), "http://b".to_owned());
        let of = |name: &str| name.parse::<Selector>().unwrap();
        let figure = Figure::Counts { total: of("jobs"), bad: of("failed") };
        let none = Figure::Counts { total: None, bad: None };
        let told = vec![(&a, Figure::Counts { total: Some(3.0), bad: None }), (&b, none.clone())];
        let zero = Figure::Counts { total: 0.0, bad: 0.0 };
        let expected = vec![(&a, Figure::Counts { total: 3.0, bad: 0.0 }), (&b, zero)];
        assert_eq!(gather(told, &figure), Ok(expected));
        assert_eq!(gather(vec![(&a, none)], &figure), Err("http://a has no jobs".to_owned()));
        assert!(gather(vec![], &figure).is_err());
    }
}
