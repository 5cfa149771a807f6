# The documented analyses as a jq program: jq -f peer.jq --arg mode debug|perf|flow FILE
#
# Of the flow it tells what is active and the completed path: no tree, nothing parallel. Least and most are found
# in one pass, as in peer.js. Times are read to the second: jq knows no parts of it.

def age: now - (.created_at[0:19] + "Z" | fromdateiso8601);

def issue($type; $severity; is; figure):
  map(select(is)) | select(length > 0)
  | {type: $type, severity: $severity, count: length,
     tokens: map({id: .token_id, element: .element_name} + figure)};

def debug:
  .tokens
  | [issue("LONG_RUNNING_TOKENS"; "HIGH"; .state == "ACTIVE" and age > 600; {runningTime: (age / 60 | round)}),
     issue("HIGH_RETRY_TOKENS"; "MEDIUM"; (.execution_context.retries_used // 0) > 2;
           {retries: .execution_context.retries_used}),
     issue("STUCK_GATEWAY_TOKENS"; "HIGH";
           .state == "WAITING" and (.element_type // "" | contains("Gateway")) and age > 300;
           {waitingTime: (age / 60 | round)})]
  | {issues: .,
     summary: {totalIssues: length,
               severity: (if any(.severity == "HIGH") then "HIGH" elif length > 0 then "MEDIUM" else "LOW" end)}};

def perf:
  .summary as $summary
  | .tokens | map(select(.state == "COMPLETED"))
  | map(select(.execution_context.duration_ms != null)) as $measured
  | {totalTokens: $summary.total_tokens,
     avgExecutionTime: (if $measured == [] then 0
                        else ($measured | map(.execution_context.duration_ms) | add / length) end),
     fastestToken: ($measured | min_by(.execution_context.duration_ms)),
     slowestToken: ($measured | max_by(.execution_context.duration_ms)),
     retryAnalysis: (map(.execution_context.retries_used // 0) | group_by(.)
                     | map({key: (.[0] | tostring), value: length}) | from_entries),
     typePerformance: $summary.element_types};

def flow:
  .tokens
  | {analysis: {activeTokens: map(select(.state == "ACTIVE")),
                completedPath: (map(select(.state == "COMPLETED")) | sort_by(.completed_at)
                                | map({element: .element_name, completedAt: .completed_at,
                                       duration: .execution_context.duration_ms}))}};

.data | if $mode == "debug" then debug elif $mode == "perf" then perf else flow end
