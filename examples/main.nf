// Segment every scan as a process of its own, then one table:
//   nextflow run examples/main.nf --scans '/data/scans/*.nii.gz' --model runs/a --out masks
// With a folder a DICOM series: --scans '/data/series/*' (type: 'any' takes folders and files).
// A model takes seconds to load, so for small scans examples/slurm-array.sh (one load a task) is faster.

params.scans = null
params.model = null
params.out = 'masks'
params.more = ''

process SEGMENT {
    tag "${scan.baseName}"
    publishDir params.out, mode: 'copy', saveAs: { name -> name.tokenize('/')[-1] == 'volumes.csv' ? null : name.tokenize('/')[-1] }

    input:
    path scan
    path model

    output:
    path 'masks/*.nii.gz', emit: masks
    path 'masks/volumes.csv', emit: table

    script:
    """
    ctseg segment ${scan} --model ${model} -o masks --workers 0 ${params.more}
    """
}

workflow {
    scans = Channel.fromPath(params.scans, type: 'any', checkIfExists: true)
    SEGMENT(scans, file(params.model, checkIfExists: true))
    SEGMENT.out.table.collectFile(name: 'volumes.csv', storeDir: params.out, keepHeader: true, sort: true)
}
