//! The program.
fn main() {
    weir::demo::run(
        weir::demo::Settings {
            seed: 1,
            bad: true,
            good: true,
            json: std::env::args().any(|a| a == "--json"),
        },
        &mut |l| println!("{l}"),
    )
    .unwrap();
}
