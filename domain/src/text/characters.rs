//! Kinds of characters that the standard library does not distinguish.

/// Characters that are invisible on their own (Unicode's `Default_Ignorable_Code_Point`): zero-width spaces, joiners,
/// variation selectors, soft hyphens, tags and the like.
pub(super) fn is_ignorable(character: char) -> bool {
    matches!(character,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Characters that change the direction of the text after them, even of other users' names on the same board.
pub(super) fn changes_direction(character: char) -> bool {
    matches!(character,
        '\u{61C}' | '\u{200E}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Blank characters that take up space, or are placeholders for something missing.
pub(super) fn is_filler(character: char) -> bool {
    matches!(character,
        '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180E}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}'
        | '\u{FFF9}'..='\u{FFFC}' | '\u{1D159}')
}

/// The 66 code points that will never be characters.
pub(super) fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// Characters between which a joiner has a meaning: emoji and symbols, and scripts that join their letters.
pub(super) fn is_joined(character: char) -> bool {
    matches!(character,
        '\u{600}'..='\u{DFF}' | '\u{1800}'..='\u{18AF}' | '\u{2190}'..='\u{2BFF}' | '\u{3030}' | '\u{303D}' | '\u{3297}'
        | '\u{3299}' | '\u{FB50}'..='\u{FDCF}' | '\u{FE70}'..='\u{FEFC}' | '\u{1F000}'..='\u{1FAFF}')
}

/// Selects how the character before it is drawn: as emoji, as text, in a variant.
pub(super) fn is_variation_selector(character: char) -> bool {
    matches!(character, '\u{180B}'..='\u{180D}' | '\u{180F}' | '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}')
}

/// Spells the region of a flag after a black flag, up to U+E007F.
pub(super) fn is_flag_tag(character: char) -> bool {
    matches!(character, '\u{E0020}'..='\u{E007F}')
}

/// A mark above, below or beside the consonant that it follows (Thai, and Lao one block further), or the vowel sign
/// AA after them. The number is its place among the marks of one consonant in the usual typing order.
pub(crate) fn place_among_marks(character: char) -> Option<u8> {
    Some(match character {
        '\u{E31}' | '\u{E34}'..='\u{E3A}' | '\u{E47}' | '\u{EB1}' | '\u{EB4}'..='\u{EBC}' => 1,
        '\u{E48}'..='\u{E4B}' | '\u{EC8}'..='\u{ECB}' => 2,
        '\u{E4C}' | '\u{ECC}' => 3,
        '\u{E4D}'..='\u{E4E}' | '\u{ECD}'..='\u{ECE}' => 4,
        '\u{E32}' | '\u{EB2}' => 5,
        _ => return None,
    })
}
