# Sourced by runners of tests in Node: the npm packages that their lock file pins.

# Installs the packages of a folder's package-lock.json where they are missing or others.
npm_packages() {
  local folder=$1
  ! cmp --silent "$folder/package-lock.json" "$folder/node_modules/.installed" || return 0
  installing "npm packages of ${folder#"$PWD/"}/package-lock.json"
  npm ci --prefix "$folder" --loglevel error
  cp "$folder/package-lock.json" "$folder/node_modules/.installed"
}

# Says what is about to be installed; with INSTALL_MISSING=no that is an error.
installing() {
  [[ ${INSTALL_MISSING:-yes} == yes ]] || { echo "$0: missing: $1" >&2 && exit 1; }
  echo "installing $1"
}
