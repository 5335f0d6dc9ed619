//! Tutorials and reference pages, from the repository's `docs/`. Their examples are compiled and run as tests.
//!
//! - [Quick start](quick_start): install, a first program, a model folder, what to do with the output.
//! - [Coming from diffusers](coming_from_diffusers): side by side, every option, and why images may differ.
//! - [Model folders](model_folders): the scheduler classes of diffusers, what each runs as, and how it differs.
//! - [Recipes](recipes): text to image, img2img, inpainting, inversion, previews, batching, training, control loops, released models.
//! - [Choosing settings](choosing): which sampler, how many steps, which η, spacing and clipping, with measurements.
//! - [Seeds](seeds): the noise of torch, numpy, ComfyUI and the AUTOMATIC1111 web UI for the same seed.
//! - [FAQ and troubleshooting](faq)
//! - [Glossary](glossary) and [Notation](notation): the words, and the symbols of both papers and of diffusers.
//! - [Equations](equations): every equation of the papers, the function that computes it and the test that holds it.
//! - [Backends](backends): candle, burn, libtorch, ONNX, and your own tensor type.
//! - [Scope](scope): what is not here, what counts as a breaking change, when to use something else.
//! - [Design](design) and [Performance](performance): why it has this shape, and what it costs.

// Links among the pages are relative in the files, for readers of the repository, and paths here: the first definition of a
// label counts in Markdown.
macro_rules! page {
    ($(#[$meta:meta])* $name:ident, $file:literal) => {
        $(#[$meta])*
        #[doc = "[quick-start]: crate::guide::quick_start"]
        #[doc = "[diffusers]: crate::guide::coming_from_diffusers"]
        #[doc = "[hub]: crate::guide::model_folders"]
        #[doc = "[recipes]: crate::guide::recipes"]
        #[doc = "[choosing]: crate::guide::choosing"]
        #[doc = "[faq]: crate::guide::faq"]
        #[doc = "[glossary]: crate::guide::glossary"]
        #[doc = "[notation]: crate::guide::notation"]
        #[doc = "[backends]: crate::guide::backends"]
        #[doc = "[seeds]: crate::guide::seeds"]
        #[doc = "[scope]: crate::guide::scope"]
        #[doc = "[sample]: crate::sample()"]
        #[doc = "[plan]: crate::Plan"]
        #[doc = "[compat]: crate::compat"]
        #[doc = ""]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $name {}
    };
}

page!(quick_start, "quick-start.md");
page!(coming_from_diffusers, "coming-from-diffusers.md");
page!(model_folders, "hub.md");
page!(recipes, "recipes.md");
page!(choosing, "choosing.md");
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
