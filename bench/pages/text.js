// Reproducible filler text: the same seed gives the same words on every run and machine.
'use strict';

const VOCABULARY = ('a about above after again air all along also and answer any are around at away back be because before began below '
  + 'between book both boy but by call came can change children city close come could country cut day did different do does down each earth '
  + 'eat end enough even every example eye face family far father feet few find first follow food for found four from get give go good great '
  + 'group grow had hand hard has have head hear help here high home house how idea important in into it just keep kind know land large last '
  + 'later learn leave left let letter life light like line list little live long look made make many may mean men might mile more most mother '
  + 'mountain move much must name near need never new next night not now number of off often old on once one only open or other our out over').split(' ');

/** Numbers in [0, 1) from a seed (mulberry32). */
function randomSource(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Endless words from a seed. */
function wordSource(seed) {
  const random = randomSource(seed);
  return () => VOCABULARY[(random() * VOCABULARY.length) | 0];
}

/** A sentence of `count` words. */
function sentence(words, count) {
  const text = Array.from({ length: count }, words).join(' ');
  return text[0].toUpperCase() + text.slice(1) + '.';
}
