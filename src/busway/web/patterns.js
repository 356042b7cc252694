/* Patterns of names: levels split at "/", of which * stands for any one and ** for any number, none too.

   As protocol/wire/patterns.py of the core. */

const ONE = "*";
const ANY = "**";

/** Whether a name is a pattern. One with a * within a level is none, which older versions have. */
export const isPattern = (name) =>
  name.includes(ONE) && name.split("/").every((level) => level === ONE || level === ANY || !level.includes(ONE));

/** The levels of a pattern; several ** behind each other mean what one does. */
export const levelsOf = (pattern) =>
  pattern.split("/").filter((level, at, all) => level !== ANY || all[at - 1] !== ANY);

/** Whether a pattern, as `levelsOf` gives it, means a name; none means a name with a * in it.

    Goes on behind the last ** when what follows it does not fit: what an earlier one took need not be looked at
    again, for the last can take all that it could. */
export function fits(pattern, name) {
  if (name.includes(ONE)) return false;
  const levels = name.split("/");
  let at = 0;
  let place = 0;
  let back = -1; // behind the last ** of the pattern
  let taken = 0; // up to where in the name that one has taken levels
  while (at < levels.length) {
    const level = pattern[place];
    if (level === ANY) {
      back = ++place;
      taken = at;
    } else if (level === ONE || level === levels[at]) {
      place++;
      at++;
    } else if (back >= 0) {
      at = ++taken;
      place = back;
    } else return false;
  }
  while (pattern[place] === ANY) place++;
  return place === pattern.length;
}
