// The documented analyses as a plain JavaScript program: node peer.js debug|perf|flow [FILE]
//
// Reads an answer of GET /processes/{id}/tokens from a file or stdin and writes the documented results as JSON.
// Where the document would throw, recurse without end or run out of stack on 200,000 tokens, this does not: least
// and most come from a loop, and the tree is built with a stack, each token once. What the document leaves open
// (bottlenecks, parallel tokens) is what `tokctl flow` tells.
'use strict';

const fs = require('fs');

const MINUTE = 60000;
const FINAL = new Set(['COMPLETED', 'CANCELLED', 'FAILED']);
const context = (token) => token.execution_context ?? {};

function debug({ tokens }) {
  const now = Date.now();
  const age = (token) => now - Date.parse(token.created_at);
  const minutes = (token) => Math.round(age(token) / MINUTE);
  const issues = [];
  const report = (type, severity, found, figure) => {
    if (found.length > 0) {
      const told = found.map((t) => ({ id: t.token_id, element: t.element_name, ...figure(t) }));
      issues.push({ type, severity, count: found.length, tokens: told });
    }
  };
  report('LONG_RUNNING_TOKENS', 'HIGH',
    tokens.filter((t) => t.state === 'ACTIVE' && age(t) > 10 * MINUTE),
    (t) => ({ runningTime: minutes(t) }));
  report('HIGH_RETRY_TOKENS', 'MEDIUM',
    tokens.filter((t) => context(t).retries_used > 2),
    (t) => ({ retries: context(t).retries_used }));
  report('STUCK_GATEWAY_TOKENS', 'HIGH',
    tokens.filter((t) => t.state === 'WAITING' && t.element_type?.includes('Gateway') && age(t) > 5 * MINUTE),
    (t) => ({ waitingTime: minutes(t) }));
  const severity = ['HIGH', 'MEDIUM'].find((s) => issues.some((issue) => issue.severity === s)) ?? 'LOW';
  return { issues, summary: { totalIssues: issues.length, severity } };
}

function perf({ tokens, summary }) {
  const completed = tokens.filter((t) => t.state === 'COMPLETED');
  let total = 0, measured = 0, fastest = null, slowest = null;
  const retryAnalysis = {};
  for (const token of completed) {
    const took = context(token).duration_ms;
    if (took !== undefined && took !== null) {
      total += took;
      measured += 1;
      if (fastest === null || took < context(fastest).duration_ms) fastest = token;
      if (slowest === null || took > context(slowest).duration_ms) slowest = token;
    }
    const retries = context(token).retries_used || 0;
    retryAnalysis[retries] = (retryAnalysis[retries] || 0) + 1;
  }
  return {
    totalTokens: summary.total_tokens,
    avgExecutionTime: measured > 0 ? total / measured : 0,
    fastestToken: fastest,
    slowestToken: slowest,
    retryAnalysis,
    typePerformance: summary.element_types,
  };
}

function tree(tokens) {
  const byId = new Map(tokens.map((t) => [t.token_id, t]));
  const placed = new Set();
  const branch = (token) => {
    placed.add(token.token_id);
    return { ...token, children: [] };
  };
  const roots = tokens.filter((t) => !t.parent_token_id).map(branch);
  const open = [...roots];
  while (open.length > 0) {
    const node = open.pop();
    for (const id of node.child_tokens ?? []) {
      const child = byId.get(id);
      if (child !== undefined && !placed.has(id)) {
        node.children.push(branch(child));
        open.push(node.children[node.children.length - 1]);
      }
    }
  }
  return { roots, size: placed.size };
}

function bottlenecks(tokens, now) {
  const spent = new Map();
  let whole = 0;
  for (const token of tokens) {
    const took = FINAL.has(token.state) ? context(token).duration_ms ?? 0 : now - Date.parse(token.created_at);
    const entry = spent.get(token.element_id) ?? { element: token.element_id, visits: 0, total: 0, longest: 0 };
    entry.visits += 1;
    entry.total += took;
    entry.longest = Math.max(entry.longest, took);
    spent.set(token.element_id, entry);
    whole += took;
  }
  return [...spent.values()].sort((a, b) => b.total - a.total).map((e) => ({ ...e, percentage: 100 * e.total / whole }));
}

function parallel(tokens, now) {
  const begins = [], ends = [];
  for (const token of tokens) {
    const begin = Date.parse(token.created_at);
    const end = FINAL.has(token.state) ? Date.parse(token.completed_at ?? token.cancelled_at) : now;
    if (begin < end) {
      begins.push(begin);
      ends.push(end);
    }
  }
  begins.sort((a, b) => a - b);
  ends.sort((a, b) => a - b);
  const stretches = [];
  let running = 0, closed = 0, most = 0, stretch = null;
  for (const begin of begins) {
    while (ends[closed] <= begin) {
      running -= 1;
      closed += 1;
      if (running === 1 && ends[closed - 1] < begin && stretch !== null) {
        stretches.push({ ...stretch, end: ends[closed - 1] });
        stretch = null;
      }
    }
    running += 1;
    most = Math.max(most, running);
    if (running > 1) stretch = { begin: stretch?.begin ?? begin, most: Math.max(stretch?.most ?? 0, running) };
  }
  if (stretch !== null) stretches.push({ ...stretch, end: ends[ends.length - 2] });
  return { most, stretches };
}

function flow({ tokens }) {
  const now = Date.now();
  const { roots, size } = tree(tokens);
  const completedPath = tokens
    .filter((t) => t.state === 'COMPLETED')
    .map((token) => ({ token, at: Date.parse(token.completed_at) }))
    .sort((a, b) => a.at - b.at)
    .map(({ token: t }) => ({ element: t.element_name, completedAt: t.completed_at, duration: context(t).duration_ms }));
  return {
    tokenTree: { roots: roots.length, tokens: size }, // so deep that JSON.stringify cannot write it
    analysis: {
      activeTokens: tokens.filter((t) => t.state === 'ACTIVE'),
      completedPath,
      currentBottlenecks: bottlenecks(tokens, now),
      parallelExecution: parallel(tokens, now),
    },
  };
}

const [mode, file] = process.argv.slice(2);
const { data } = JSON.parse(fs.readFileSync(file ?? 0, 'utf8'));
process.stdout.write(JSON.stringify({ debug, perf, flow }[mode](data)));
