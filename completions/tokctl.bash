# tokctl completion for bash.

_tokctl() {
    local line=${COMP_LINE:0:COMP_POINT} program=${1/#~\//$HOME/} before stem word safe open=
    type -P -- "$program" >/dev/null || program=tokctl

    # Readline replaces only $2: what follows the last of : = @ and of an open quote in the word.
    before=${line%"$2"}
    stem=${before##*[[:space:]]}
    [[ $stem == *[\"\'] ]] && open=1
    stem=${stem//[\"\'\\]/}

    COMPREPLY=()
    while IFS= read -r word; do
        if [[ $word == $'\tfiles' ]]; then
            compopt -o default 2>/dev/null
            return
        fi
        word=${word%%$'\t'*}
        word=${word#"$stem"}
        [[ $word ]] || continue
        printf -v safe %q "$word"
        # Within quotes a shell may still read $(…): only words that need no quotes are offered there.
        [[ $open && $safe != "$word" ]] || COMPREPLY+=("$safe")
    done < <(_TOKCTL_COMPLETE=bash_complete COMP_WORDS=$line command "$program" 2>/dev/null)
}

complete -F _tokctl tokctl
