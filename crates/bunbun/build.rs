//! How the release binary is linked. Pages of it that are mapped count as memory of an idle process,
//! so functions that are alike are folded (where nobody compares their addresses), and relocations
//! are packed.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told everything by the environment"
)]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name, value| std::env::var(name).is_ok_and(|given| given == value);
    // Debian 12's C library and later know packed relocations, and rustc links with LLD here.
    if is("PROFILE", "release")
        && is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
    {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=safe");
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
