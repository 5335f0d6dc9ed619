//! Tutorials and reference pages, from the repository's `docs/`. Their examples are compiled and run as tests.
//!
//! Learn:
//!
//! - [Quick start](quick_start): install, first images, your network as a closure, a model folder with candle, what to do with the output.
//! - [Coming from diffusers](coming_from_diffusers): Python and Rust side by side, every name, and why images may differ.
//! - [Model folders](model_folders): the scheduler classes of diffusers, what each runs as, and how it differs.
//! - [Recipes](recipes): text to image, flows, few-step models, img2img, inpainting, inversion, previews, batching, control loops, training.
//! - [Choosing settings](choosing): which sampler, how many calls, which η, spacing and clipping, with measurements.
//! - [FAQ and troubleshooting](faq): wrong images, NaN, compiler and error messages, GPU, wasm.
//!
//! Look up:
//!
//! - [Seeds](seeds): the noise of torch, numpy, ComfyUI and the AUTOMATIC1111 web UI for the same seed.
//! - [Glossary](glossary) and [Notation](notation): the words, and the symbols of both papers and of diffusers.
//! - [Equations](equations): every equation of the papers, the function that computes it and the test that checks it.
//! - [Backends](backends): candle, burn, libtorch, ONNX, and your own tensor type.
//! - [Scope](scope): what is here, what is planned, what is out, and what counts as a breaking change.
//! - [Design](design) and [Performance](performance): why it has this shape, and what it costs.

// In the files, links among the pages are relative, for readers of the repository. In rustdoc they have to be paths. The first definition
// of a label counts in Markdown, so these come before the file's own.
macro_rules! page {
    ($(#[$meta:meta])* $name:ident, $file:literal) => {
        $(#[$meta])*
        #[doc = "[quick-start]: crate::guide::quick_start"]
        #[doc = "[diffusers]: crate::guide::coming_from_diffusers"]
        #[doc = "[hub]: crate::guide::model_folders"]
        #[doc = "[recipes]: crate::guide::recipes"]
        #[doc = "[previews]: crate::guide::recipes#previews-progress-cancelling-resuming"]
        #[doc = "[choosing]: crate::guide::choosing"]
        #[doc = "[faq]: crate::guide::faq"]
        #[doc = "[glossary]: crate::guide::glossary"]
        #[doc = "[notation]: crate::guide::notation"]
        #[doc = "[backends]: crate::guide::backends"]
        #[doc = "[performance]: crate::guide::performance"]
        #[doc = "[seeds]: crate::guide::seeds"]
        #[doc = "[scope]: crate::guide::scope"]
        #[doc = "[sample]: crate::sample()"]
        #[doc = "[plan]: crate::Plan"]
        #[doc = "[coefficients]: crate::Coefficients"]
        #[doc = "[compat]: crate::compat"]
        #[doc = ""]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $name {}
    };
}

// A definition that holds the bytes of an image: rustdoc does not copy the files of relative images.
macro_rules! picture {
    ($label:literal, $file:literal) => {
        concat!("[", $label, "]: data:image/png;base64,", include_str!(concat!("../docs/images/", $file, ".png.b64")))
    };
}

page!(quick_start, "quick-start.md");
page!(coming_from_diffusers, "coming-from-diffusers.md");
page!(model_folders, "hub.md");
page!(recipes, "recipes.md");
page!(
    #[doc = picture!("spacings-picture", "spacings")]
    #[doc = picture!("eta-steps-picture", "eta-steps")]
    #[doc = picture!("calls-picture", "calls-exact")]
    choosing,
    "choosing.md"
);
page!(seeds, "seeds.md");
page!(faq, "faq.md");
page!(glossary, "glossary.md");
page!(notation, "notation.md");
page!(equations, "equations.md");
page!(
    #[cfg(not(doctest))]
    backends,
    "backends.md"
);
page!(scope, "scope.md");
page!(design, "design.md");
page!(performance, "performance.md");

/// The example of docs/backends.md is the suite of conformance tests.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/backends.md")]
struct BackendsDoctests;
