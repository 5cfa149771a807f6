# tokctl completion for fish.

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
