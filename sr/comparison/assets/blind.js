// The blind test: two results without labels, in random order; which is better? At the end the count, against a coin's.

class BlindTest {
  /** Begin a test of the sources `keys` [A, B] on `scenes`, in random order. */
  constructor(keys, scenes, random = Math.random) {
    this.keys = keys;
    this.trials = shuffle(scenes, random).map((scene) => ({ scene, order: shuffle(keys, random), choice: null }));
    this.index = 0;
  }

  get trial() {
    return this.trials[this.index] ?? null;
  }

  get isFinished() {
    return this.index >= this.trials.length;
  }

  /** Record that position 0 or 1 was better, or null for no difference, and go on. */
  answer(position) {
    this.trial.choice = position === null ? "none" : this.trial.order[position];
    this.index += 1;
  }

  /** Return how often each was chosen, and the probability of a count as uneven as this from a fair coin. */
  summarize() {
    const counts = this.keys.map((key) => this.trials.filter((trial) => trial.choice === key).length);
    const undecided = this.trials.filter((trial) => trial.choice === "none").length;
    return { counts, undecided, p: computeBinomialP(counts[0], counts[0] + counts[1]) };
  }
}

/** Return a new array in random order (Fisher-Yates). */
function shuffle(values, random) {
  const result = [...values];
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other], result[last]];
  }
  return result;
}

/** Return the two-sided p of `count` successes in `total` throws of a fair coin (exact binomial test); 1 without throws. */
function computeBinomialP(count, total) {
  const least = Math.min(count, total - count);
  let term = 0.5 ** total, sum = 0; // P(X = k), from k = 0 on
  for (let k = 0; k <= least; k++) {
    sum += term;
    term *= (total - k) / (k + 1);
  }
  return Math.min(1, 2 * sum);
}

/** Return the result of a test in words. */
function describeBlindTest(summary, labels) {
  const { counts, undecided, p } = summary, total = counts[0] + counts[1];
  if (total === 0) return "No choice was made.";
  const text = `${labels[0]}: ${counts[0]} of ${total}; ${labels[1]}: ${counts[1]} of ${total}`;
  const rest = undecided ? `; no difference seen: ${undecided}` : "";
  const verdict = p < 0.05
    ? "fewer than one in twenty series of coin throws are as uneven"
    : "a coin is often as uneven: no preference is shown";
  return `${text}${rest}. p = ${p < 0.001 ? "<0.001" : p.toFixed(3)} (two-sided binomial test): ${verdict}.`;
}
