# The tokens of one instance from an engine's own answers, as rows of text or as JSON.
# $names has the last segment of the path of each answer, $kind the kind of the engine.

def state($failed; $taken):
  if .endTime then (if .canceled then "CANCELLED" else "COMPLETED" end)
  elif $failed then "FAILED" elif $taken then "ACTIVE" else "WAITING" end;

def row($id; $element; $type; $name; $state; $from; $to):
  {token_id: $id, element_id: $element, element_type: $type, element_name: $name, state: $state, created_at: $from,
   completed_at: $to};

def camunda7:
  (."external-task" // [] | map({(.executionId): .}) | add // {}) as $tasks
  | ."activity-instance"
  | map($tasks[.executionId] as $task
    | row(.id; .activityId; .activityType; .activityName;
        state($task.retries == 0; $task.lockExpirationTime != null); .startTime; .endTime));

def flowable:
  (."deadletter-jobs".data | map({(.executionId): .}) | add // {}) as $dead
  | (.jobs.data // [] | map({(.executionId): .}) | add // {}) as $jobs
  | ."historic-activity-instances".data
  | map(select(.activityType != "sequenceFlow" and (.activityType != "boundaryEvent" or .endTime != null))
    | row(.id; .activityId; .activityType; .activityName;
        state($dead[.executionId] != null; $jobs[.executionId].lockOwner != null); .startTime; .endTime));

def atomd:
  .typed.data.tokens
  | map(row(.token_id; .current_element_id // .element_id; null; null; .status; .created_at; null));

[$names, [inputs]] | transpose | map({(.[0]): .[1]}) | add
| if $kind == "camunda7" then camunda7 elif $kind == "flowable" then flowable else atomd end
| if $as_json then . else .[] | [.[] | . // "-"] | @tsv end
