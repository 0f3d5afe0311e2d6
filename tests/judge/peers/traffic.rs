//! Simulated traffic of two versions.

/// The counts of one version.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    pub(super) requests: u64,
    pub(super) errors: u64,
}

/// The counts of both versions in one window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Second {
    pub(super) stable: Side,
    pub(super) canary: Side,
}

/// A kind of rollout.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Requests a second.
    rate: f64,
    /// Seconds of a window.
    pub(super) window: f64,
    /// Share of requests that fail, at a second of the rollout.
    stable: fn(f64) -> f64,
    canary: fn(f64) -> f64,
    /// How far the error level of each version wobbles from minute to minute (standard deviation over
    /// mean).
    wobble: f64,
}

impl Kind {
    const fn new(
        name: &'static str,
        rate: f64,
        stable: fn(f64) -> f64,
        canary: fn(f64) -> f64,
    ) -> Self {
        let window = if rate >= 50.0 {
            1.0
        } else if rate >= 1.0 {
            10.0
        } else {
            60.0
        };
        Self { name, rate, window, stable, canary, wobble: 0.0 }
    }

    const fn wobbling(self, wobble: f64) -> Self {
        Self { wobble, ..self }
    }
}

fn none(_: f64) -> f64 {
    0.0
}

fn thousandth(_: f64) -> f64 {
    0.001
}

fn hundredth(_: f64) -> f64 {
    0.01
}

fn twentieth(_: f64) -> f64 {
    0.05
}

fn outage(at: f64) -> f64 {
    if (120.0..420.0).contains(&at) { 0.3 } else { 0.001 }
}

/// Canaries that are as good as stable.
pub(super) fn good() -> Vec<Kind> {
    vec![
        Kind::new("no errors, 50/s", 50.0, none, none),
        Kind::new("0.1 % errors, 72/h", 0.02, thousandth, thousandth),
        Kind::new("0.1 % errors, 1/s", 1.0, thousandth, thousandth),
        Kind::new("0.1 % errors, 50/s", 50.0, thousandth, thousandth),
        Kind::new("0.1 % errors, 1000/s", 1_000.0, thousandth, thousandth),
        Kind::new("1 % errors, 50/s", 50.0, hundredth, hundredth),
        Kind::new("5 % errors, 50/s", 50.0, twentieth, twentieth),
        Kind::new("both fail 30 % from minute 2 to 7, 50/s", 50.0, outage, outage),
        Kind::new("8 % errors in the canary's first minute, 50/s", 50.0, thousandth, |at| {
            if at < 60.0 { 0.08 } else { 0.001 }
        }),
        Kind::new("1 % errors that wobble by 30 % a minute, 1000/s", 1_000.0, hundredth, hundredth)
            .wobbling(0.3),
        Kind::new("1 % errors that wobble by 100 % a minute, 50/s", 50.0, hundredth, hundredth)
            .wobbling(1.0),
    ]
}

/// Canaries that are worse than stable.
pub(super) fn bad() -> Vec<Kind> {
    vec![
        Kind::new("fails every request, 72/h", 0.02, thousandth, |_| 1.0),
        Kind::new("fails every request, 1/s", 1.0, thousandth, |_| 1.0),
        Kind::new("fails every request, 50/s", 50.0, thousandth, |_| 1.0),
        Kind::new("fails every request, 1000/s", 1_000.0, thousandth, |_| 1.0),
        Kind::new("+5 pp on 0.1 %, 50/s", 50.0, thousandth, |_| 0.051),
        Kind::new("+1 pp on 0.1 %, 50/s", 50.0, thousandth, |_| 0.011),
        Kind::new("+1 pp on 1 %, 50/s", 50.0, hundredth, |_| 0.02),
        Kind::new("+0.5 pp on 0.1 %, 1000/s", 1_000.0, thousandth, |_| 0.006),
        Kind::new("a route with 2 % of the requests fails, 50/s", 50.0, thousandth, |_| 0.021),
        Kind::new(
            "+5 pp, both fail 30 % from minute 1 to 6, 50/s",
            50.0,
            |at| if (60.0..360.0).contains(&at) { 0.3 } else { 0.001 },
            |at| if (60.0..360.0).contains(&at) { 0.35 } else { 0.051 },
        ),
        Kind::new("+5 pp from second 170 on, 1000/s", 1_000.0, hundredth, |at| {
            if at < 170.0 { 0.01 } else { 0.06 }
        }),
    ]
}

/// Traffic of one rollout.
pub(super) struct Traffic<'a> {
    kind: &'a Kind,
    chance: Chance,
    minute: Option<u64>,
    /// What the error levels of both versions are multiplied with in this minute.
    levels: [f64; 2],
}

impl<'a> Traffic<'a> {
    /// The same for every judge up to its first step.
    pub(super) fn new(kind: &'a Kind, seed: u64) -> Self {
        Self { kind, chance: Chance::new(kind.name, seed), minute: None, levels: [1.0; 2] }
    }

    /// A minute of stable alone.
    pub(super) fn minute_before(&mut self) -> Second {
        let requests = self.chance.poisson(self.kind.rate * 60.0);
        let level = self.chance.gamma(self.kind.wobble);
        let errors = self.chance.binomial(requests, (self.kind.stable)(0.0) * level);
        Second { stable: Side { requests, errors }, canary: Side::default() }
    }

    /// A window that begins at second `now`, with the canary at `weight`.
    pub(super) fn window(&mut self, now: f64, weight: f64) -> Second {
        let minute = whole(now / 60.0);
        if self.minute != Some(minute) {
            self.minute = Some(minute);
            self.levels = [(); 2].map(|()| self.chance.gamma(self.kind.wobble));
        }
        let middle = now + self.kind.window / 2.0;
        let all = self.kind.rate * self.kind.window;
        let [stable, canary] =
            [(all * (1.0 - weight), self.kind.stable, 0), (all * weight, self.kind.canary, 1)].map(
                |(mean, rate, place)| {
                    let requests = self.chance.poisson(mean);
                    let errors = self.chance.binomial(requests, rate(middle) * self.levels[place]);
                    Side { requests, errors }
                },
            );
        Second { stable, canary }
    }
}

/// Chance that can be had again by its seed (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn new(name: &str, seed: u64) -> Self {
        let named = name.bytes().fold(seed.wrapping_add(1), |sum, byte| {
            sum.wrapping_mul(0x0100_0000_01B3) ^ u64::from(byte)
        });
        Self(named)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// Knuth's product for few, a normal with the same mean and variance for many.
    fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if mean > 60.0 {
            return whole((mean + mean.sqrt() * self.normal()).round());
        }
        let (limit, mut product, mut count) = ((-mean).exp(), 1.0, 0);
        loop {
            product *= self.unit();
            if product <= limit {
                return count;
            }
            count += 1;
        }
    }

    fn binomial(&mut self, of: u64, share: f64) -> u64 {
        let (all, share) = (of as f64, share.min(1.0));
        if share <= 0.0 {
            0
        } else if share >= 1.0 {
            of
        } else if of <= 60 {
            (0..of).filter(|_| self.unit() < share).count() as u64
        } else if all * share < 30.0 {
            self.poisson(all * share).min(of)
        } else {
            let spread = (all * share * (1.0 - share)).sqrt();
            whole((all * share + spread * self.normal()).round()).min(of)
        }
    }

    /// A level around 1 with this spread (Marsaglia and Tsang); 1 without one.
    fn gamma(&mut self, spread: f64) -> f64 {
        if spread <= 0.0 {
            return 1.0;
        }
        let shape = 1.0 / (spread * spread);
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0
                && self.unit().max(f64::MIN_POSITIVE).ln() < 0.5 * x * x + d - d * v + d * v.ln()
            {
                return d * v / shape;
            }
        }
    }
}

/// The whole part, 0 of what is less.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
