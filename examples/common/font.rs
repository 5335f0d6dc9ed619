//! Letters as dots, for sheets of images.

/// The combining circumflex, drawn on the letter before it.
pub(crate) const ACCENT: char = '\u{302}';

/// The height of a line of text in dots, with the part below the baseline.
pub(crate) const HEIGHT: usize = 9;

/// The dots of a line of text, each as (column, row) from the line's top left; an accent reaches a row above it.
pub(crate) fn dots(text: &str) -> Vec<(i64, i64)> {
    let mut dots = Vec::new();
    let (mut left, mut next) = (0, 0);
    for letter in text.chars() {
        let (origin, top) = if letter == ACCENT { (left, -1) } else { (next, 0) };
        let letter = dots_of(letter);
        let width = letter.iter().map(|(column, _)| column + 1).max().unwrap_or(3);
        dots.extend(letter.into_iter().map(|(column, row)| (origin + column, top + row)));
        left = origin;
        next = next.max(origin + width + 1);
    }
    dots
}

/// Columns and rows of the dots of a letter; none for a letter that is not in [`FONT`].
fn dots_of(letter: char) -> Vec<(i64, i64)> {
    let mut dots = Vec::new();
    for (letters, rows) in FONT {
        if let Some(place) = letters.chars().position(|other| other == letter) {
            for (row, line) in (0..).zip(rows) {
                let columns = (0..).zip(line.chars().skip(6 * place).take(5));
                dots.extend(columns.filter(|(_, dot)| *dot == '#').map(|(column, _)| (column, row)));
            }
        }
    }
    dots
}

/// Letters, five dots wide and six dots apart: seven rows above the baseline and two below it.
const FONT: [(&str, [&str; HEIGHT]); 4] = [
    (
        "0123456789.,:=-+()",
        [
            " ###    #    ###   ###     #  #####   ##  #####  ###   ###                                       #    #",
            "#   #  ##   #   # #   #   ##  #      #        # #   # #   #                                     #      #",
            "#   #   #       #     #  # #  ####  #        #  #   # #   #             #     #####         #   #      #",
            "#   #   #      #    ##  #  #      # ####    #    ###   ####                         ####    #   #      #",
            "#   #   #     #       # #####     # #   #  #    #   #     #                   #####       ##### #      #",
            "#   #   #    #    #   #    #  #   # #   #  #    #   #    #         #                        #   #      #",
            " ###   ###  #####  ###     #   ###   ###   #     ###   ##   #      #    #                   #    #    #",
            "                                                                  #",
            "",
        ],
    ),
    (
        "ησ\u{302}ADFHILMNPRSTCEKUB",
        [
            "              #     #   ####  ##### #   # ###   #     #   # #   # ####  ####   #### #####  #### ##### #   # #   # ####",
            "             # #   # #  #   # #     #   #  #    #     ## ## ##  # #   # #   # #       #   #     #     #  #  #   # #   #",
            "# ##   ####       #   # #   # #     #   #  #    #     # # # ##  # #   # #   # #       #   #     #     # #   #   # #   #",
            "##  # #  #        #   # #   # ####  #####  #    #     # # # # # # ####  ####   ###    #   #     ####  ##    #   # ####",
            "#   # #  #        ##### #   # #     #   #  #    #     #   # #  ## #     # #       #   #   #     #     # #   #   # #   #",
            "#   # #  #        #   # #   # #     #   #  #    #     #   # #  ## #     #  #      #   #   #     #     #  #  #   # #   #",
            "#   #  ##         #   # ####  #     #   # ###   ##### #   # #   # #     #   # ####    #    #### ##### #   #  ###  ####",
            "    #",
            "    #",
        ],
    ),
    (
        "abcdefghijklm",
        [
            "      #               #         ##        #     #       #   #     #",
            "      #               #        #          #                 #     #",
            " ###  ####   ###   ####  ###  ####   #### # ##  #       #   #  #  #     ####",
            "    # #   # #     #   # #   #  #    #   # ##  # #       #   # #   #     # # #",
            " #### #   # #     #   # #####  #    #   # #   # #       #   ##    #     # # #",
            "#   # #   # #     #   # #      #    #   # #   # #       #   # #   #     # # #",
            " #### ####   ###   ####  ###   #     #### #   # #       #   #  #   #    # # #",
            "                                        #               #",
            "                                     ###              ##",
        ],
    ),
    (
        "nopqrstuvwxyz",
        [
            "                                     #",
            "                                     #",
            "# ##   ###  ####   #### # ##   #### ####  #   # #   # #   # #   # #   # #####",
            "##  # #   # #   # #   # ##    #      #    #   # #   # #   #  # #  #   #    #",
            "#   # #   # #   # #   # #      ###   #    #   # #   # # # #   #   #   #   #",
            "#   # #   # #   # #   # #         #  #    #  ##  # #  # # #  # #  #   #  #",
            "#   #  ###  ####   #### #     ####    ##   ## #   #    # #  #   #  #### #####",
            "            #         #                                               #",
            "            #         #                                            ###",
        ],
    ),
];
