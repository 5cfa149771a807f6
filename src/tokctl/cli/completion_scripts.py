"""The completion scripts of the shells. Each asks the program, so none knows a command or an option itself.

The program gets the line up to the cursor, and answers as ``shell_completion`` says.
"""

BASH = r"""# tokctl completion for bash.

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
"""

ZSH = r"""#compdef tokctl
# tokctl completion for zsh.

_tokctl() {
    local line program=${(Q)words[1]/#\~\//$HOME/}
    local -a offers described
    whence -p -- $program >/dev/null || program=tokctl

    offers=("${(@f)$(_TOKCTL_COMPLETE=zsh_complete COMP_WORDS=${(j: :)words[1,CURRENT]} \
        command $program 2>/dev/null)}")
    if [[ $offers[1] == $'\tfiles' ]]; then
        compset -P '--*='
        _files
        return
    fi
    for line in $offers; do
        described+=("${${${line%%$'\t'*}//\\/\\\\}//:/\\:}${${(M)line%%$'\t'*}/#$'\t'/:}")
    done
    (( $#described )) && _describe -V tokctl described -M 'm:{a-zA-Z}={A-Za-z}'
}

if [[ $funcstack[1] == _tokctl ]]; then
    _tokctl "$@"
else
    compdef _tokctl tokctl
fi
"""

FISH = r"""# tokctl completion for fish.

function __tokctl_offers
    set -l words (commandline -opc)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    type -q -- $program; or set program tokctl
    set -l line (commandline -cp | string collect)
    set -l offers (env _TOKCTL_COMPLETE=fish_complete COMP_WORDS="$line" $program 2>/dev/null)
    if test "$offers[1]" = \tfiles
        set -l option (commandline -ct | string match -r -- '^--[^=]*=')
        string join \n -- "$option"(__fish_complete_path (commandline -ct | string replace -r -- '^--[^=]*=' ''))
    else if test -n "$offers"
        printf '%s\n' $offers
    end
end

complete --command tokctl --no-files --keep-order --arguments '(__tokctl_offers)'
"""

SCRIPTS = {"tokctl.bash": BASH, "_tokctl": ZSH, "tokctl.fish": FISH}
"""File name → script, in the order of ``shell_completion.SHELLS``."""
